{{/* The chart's name, for labels. */}}
{{- define "billing-stream.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/*
Prefix of every name: the release, with the chart's name unless the release has it already.
44 characters leave room for -reconciler-metrics in a DNS label of 63, and for -gateway in the 52 of a StatefulSet: its
pods carry a label of its name and a hash.
*/}}
{{- define "billing-stream.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- $full := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) }}
{{- default $full .Values.fullnameOverride | trunc 44 | trimSuffix "-" }}
{{- end }}

{{/* Labels that select the pods of a component. Argument: dict root, component. */}}
{{- define "billing-stream.selectorLabels" -}}
app.kubernetes.io/name: {{ include "billing-stream.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Labels of everything. Argument: dict root, component. */}}
{{- define "billing-stream.labels" -}}
{{ include "billing-stream.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "billing-stream.image" -}}
{{- $repository := required "image.repository: name your image of the project's Dockerfile; no public image exists" .Values.image.repository }}
{{- if .Values.image.digest }}
{{- printf "%s@%s" $repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" $repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{/* An account for each room, unless one is named for all. Argument: dict root, component. */}}
{{- define "billing-stream.serviceAccountName" -}}
{{- $own := printf "%s-%s" (include "billing-stream.fullname" .root) .component }}
{{- default (.root.Values.serviceAccount.create | ternary $own "default") .root.Values.serviceAccount.name }}
{{- end }}

{{/* Hooks run before the chart's own ServiceAccount exists. */}}
{{- define "billing-stream.jobServiceAccountName" -}}
{{- .Values.serviceAccount.create | ternary "default" (default "default" .Values.serviceAccount.name) }}
{{- end }}

{{/*
What every pod shares. Service links are off because Kubernetes would otherwise invent variables such as
GATEWAY_PORT=tcp://10.0.0.1:8080 for a Service named "gateway" or "kafka" in the namespace.
Argument: dict root, values (the component's), kafka and database (whether it speaks to them).
*/}}
{{- define "billing-stream.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- range $key := list "nodeSelector" "tolerations" "affinity" "hostAliases" "dnsConfig" "priorityClassName" "initContainers" }}
{{- with get $.values $key }}
{{ $key }}: {{- kindIs "string" . | ternary (printf " %s" (toJson .)) (toYaml . | nindent 2) }}
{{- end }}
{{- end }}
volumes:
  - name: tmp
    emptyDir: {sizeLimit: 256Mi}
{{- if and .kafka .root.Values.kafka.tls.existingSecret }}
  - name: kafka-tls
    secret: {secretName: {{ .root.Values.kafka.tls.existingSecret | quote }}}
{{- end }}
{{- if and .database .root.Values.database.tls.existingSecret }}
  # libpq refuses a key that others may read.
  - name: database-tls
    secret: {secretName: {{ .root.Values.database.tls.existingSecret | quote }}, defaultMode: 0440}
{{- end }}
{{- with .values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What every container shares; the same argument. */}}
{{- define "billing-stream.container" -}}
image: {{ include "billing-stream.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
{{- with .root.Values.securityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.envFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumeMounts:
  - name: tmp
    mountPath: /tmp
{{- if and .kafka .root.Values.kafka.tls.existingSecret }}
  - name: kafka-tls
    mountPath: /etc/kafka-tls
    readOnly: true
{{- end }}
{{- if and .database .root.Values.database.tls.existingSecret }}
  - name: database-tls
    mountPath: /etc/database-tls
    readOnly: true
{{- end }}
{{- with .values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Over nodes where that is possible, unless the values say otherwise. Argument: dict root, component, values. */}}
{{- define "billing-stream.spread" -}}
topologySpreadConstraints:
{{- with .values.topologySpreadConstraints }}
  {{- toYaml . | nindent 2 }}
{{- else }}
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "billing-stream.selectorLabels" . | nindent 8 }}
{{- end }}
{{- end }}

{{/*
The number of pods, unless a scaler keeps it or the value is null. Helm 4 applies on the server, where a field that
somebody else has set is a conflict: rendered beside a scaler, it would make each later upgrade fail.
Argument: the component's values.
*/}}
{{- define "billing-stream.replicas" -}}
{{- if not (or .autoscaling.enabled (kindIs "invalid" .replicas)) -}}
replicas: {{ .replicas }}
{{- end }}
{{- end }}

{{/*
Probes against the port named metrics. Liveness says that the process turns, readiness that it can work.
Argument: dict startupSeconds (a gateway reads what is in its spool before it listens).
*/}}
{{- define "billing-stream.probes" -}}
startupProbe:
  httpGet: {path: /livez, port: metrics}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: {{ div .startupSeconds 2 }}
livenessProbe:
  httpGet: {path: /livez, port: metrics}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 3
{{- end }}

{{/* Bytes of a quantity such as 8Gi; the values schema lets no other notation through. */}}
{{- define "billing-stream.bytes" -}}
{{- $unit := regexFind "[A-Za-z]*$" . }}
{{- $powers := dict "" 1 "M" 1000000 "G" 1000000000 "T" 1000000000000 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 }}
{{- mul (trimSuffix $unit . | int64) (get $powers $unit | int64) }}
{{- end }}

{{/*
The spool must be full before its volume is. Its file can take nearly twice the bytes of its records (at 1.8 kB each,
tests/unit/test_spool_disk.py), and the log and one large transaction come on top.
Argument: the values of gateway.spool.
*/}}
{{- define "billing-stream.checkSpool" -}}
{{- $maxBytes := .maxBytes | int64 }}
{{- $needed := add (mul $maxBytes 2) 268435456 }}
{{- if lt (include "billing-stream.bytes" .size | int64) $needed }}
{{- fail (printf "gateway.spool.size: %s is too small for gateway.spool.maxBytes: %d; twice as much and 256 MiB are needed, %dMi. Raise the size or lower maxBytes" .size $maxBytes (div (add $needed 1048575) 1048576)) }}
{{- end }}
{{- end }}

{{- define "billing-stream.kafkaEnv" -}}
- name: KAFKA_BOOTSTRAP_SERVERS
  value: {{ required "kafka.bootstrapServers: name your brokers, such as kafka.example:9092" .Values.kafka.bootstrapServers | quote }}
{{- with .Values.kafka.topicPrefix }}
- name: BILLING_TOPIC_PREFIX
  value: {{ . | quote }}
{{- end }}
{{- $protocol := .Values.kafka.securityProtocol }}
- name: KAFKA_SECURITY_PROTOCOL
  value: {{ $protocol | quote }}
{{- if hasPrefix "SASL_" $protocol }}
- name: KAFKA_SASL_MECHANISM
  value: {{ required "kafka.sasl.mechanism: name it, such as SCRAM-SHA-512" .Values.kafka.sasl.mechanism | quote }}
{{- $secret := required "kafka.sasl.existingSecret: name a Secret with KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD" .Values.kafka.sasl.existingSecret }}
{{- range $key := list "KAFKA_SASL_USERNAME" "KAFKA_SASL_PASSWORD" }}
- name: {{ $key }}
  valueFrom:
    secretKeyRef: {name: {{ $secret | quote }}, key: {{ $key }}}
{{- end }}
{{- end }}
{{- if .Values.kafka.tls.existingSecret }}
- name: KAFKA_SSL_CA_LOCATION
  value: /etc/kafka-tls/ca.crt
{{- if .Values.kafka.tls.clientCertificate }}
- name: KAFKA_SSL_CERTIFICATE_LOCATION
  value: /etc/kafka-tls/tls.crt
- name: KAFKA_SSL_KEY_LOCATION
  value: /etc/kafka-tls/tls.key
{{- end }}
{{- end }}
{{- end }}

{{/* Argument: dict root, secret (its name wins over database.existingSecret). */}}
{{- define "billing-stream.databaseEnv" -}}
{{- $secret := default .root.Values.database.existingSecret .secret -}}
- name: DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ required "database.existingSecret: name a Secret that holds the libpq URL" $secret | quote }}
      key: {{ .root.Values.database.urlKey | quote }}
{{- with .root.Values.database.tls }}
{{- if .existingSecret }}
- name: PGSSLMODE
  value: verify-full
- name: PGSSLROOTCERT
  value: /etc/database-tls/ca.crt
{{- if .clientCertificate }}
- name: PGSSLCERT
  value: /etc/database-tls/tls.crt
- name: PGSSLKEY
  value: /etc/database-tls/tls.key
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* What costs how much, and whom: the same for everybody who decides. */}}
{{- define "billing-stream.rulesEnv" -}}
- name: BILLING_MARKUP
  value: {{ .Values.billing.markup | quote }}
{{- with .Values.billing.freeModels }}
- name: BILLING_FREE_MODELS
  value: {{ join "," . | quote }}
{{- end }}
{{- with .Values.billing.accountFrom }}
- name: BILLING_ACCOUNT_FROM
  value: {{ join "," . | quote }}
{{- end }}
- name: BILLING_INTERNAL_ACCOUNT
  value: {{ .Values.billing.internalAccount | quote }}
- name: BILLING_UNATTRIBUTED_ACCOUNT
  value: {{ .Values.billing.unattributedAccount | quote }}
{{- with .Values.billing.attributionKeys.existingSecret }}
- name: BILLING_ATTRIBUTION_KEYS
  valueFrom:
    secretKeyRef:
      name: {{ . | quote }}
      key: BILLING_ATTRIBUTION_KEYS
{{- end }}
{{- if .Values.billing.signedAccountsOnly }}
{{- if not .Values.billing.attributionKeys.existingSecret }}
{{- fail "billing.signedAccountsOnly needs billing.attributionKeys.existingSecret" }}
{{- end }}
- name: BILLING_SIGNED_ACCOUNTS_ONLY
  value: "true"
{{- end }}
{{- end }}

{{/* How accounts of credits begin and when they are told of: the same for everybody who moves credits. */}}
{{- define "billing-stream.creditsEnv" -}}
- name: BILLING_UNKNOWN_ACCOUNT
  value: {{ .Values.billing.unknownAccount | quote }}
- name: BILLING_CREDIT_THRESHOLDS_USD
  value: {{ .Values.billing.creditThresholdsUsd | join "," | default "none" | quote }}
{{- end }}
