#!/bin/bash
# What the official image does: Kafka's wrapper makes server.properties of KAFKA_* and formats the disk.
set -eu
cd /opt/kafka
export CLUSTER_ID="${CLUSTER_ID:-5L6g3nShT-eMCtK--X86sw}"
said=$(java -Xmx256m -cp '/opt/kafka/libs/*' kafka.docker.KafkaDockerWrapper setup --default-configs-dir /opt/kafka/config \
    --mounted-configs-dir /mnt/shared/config --final-configs-dir /opt/kafka/made 2>&1) ||
    # A disk that is formatted already is no fault.
    grep -qi 'already formatted' <<< "$said" || { echo "$said"; exit 1; }
exec java -Xmx512m -cp '/opt/kafka/libs/*' -Dlog4j2.configurationFile=/opt/kafka/config/log4j2.yaml kafka.Kafka made/server.properties
