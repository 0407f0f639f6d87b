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

{{- define "billing-stream.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "billing-stream.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* Hooks run before the chart's own ServiceAccount exists. */}}
{{- define "billing-stream.jobServiceAccountName" -}}
{{- .Values.serviceAccount.create | ternary "default" (default "default" .Values.serviceAccount.name) }}
{{- end }}

{{/*
What every pod shares. Service links are off because Kubernetes would otherwise invent variables such as
GATEWAY_PORT=tcp://10.0.0.1:8080 for a Service named "gateway" or "kafka" in the namespace.
*/}}
{{- define "billing-stream.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
  - name: tmp
    emptyDir: {}
{{- end }}

{{/* What every container shares. */}}
{{- define "billing-stream.container" -}}
image: {{ include "billing-stream.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- with .Values.securityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumeMounts:
  - name: tmp
    mountPath: /tmp
{{- end }}

{{/* Where pods of a component may run. Argument: the component's values. */}}
{{- define "billing-stream.scheduling" -}}
{{- range $key := list "nodeSelector" "tolerations" "affinity" "topologySpreadConstraints" }}
{{- with get $ $key }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
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

{{/* Certificates, behind the volumes of "billing-stream.pod" and the mounts of "billing-stream.container". */}}
{{- define "billing-stream.kafkaVolume" -}}
{{- with .Values.kafka.tls.existingSecret }}
- name: kafka-tls
  secret: {secretName: {{ . | quote }}}
{{- end }}
{{- end }}

{{- define "billing-stream.kafkaMount" -}}
{{- if .Values.kafka.tls.existingSecret }}
- name: kafka-tls
  mountPath: /etc/kafka-tls
  readOnly: true
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
{{- end }}

{{/* Headless: Prometheus wants every pod, not one of them. Argument: dict root, component. */}}
{{- define "billing-stream.metricsService" -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "billing-stream.fullname" .root }}-{{ .component }}-metrics
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "billing-stream.labels" . | nindent 4 }}
spec:
  clusterIP: None
  # A pod that is not ready is the one whose metrics matter.
  publishNotReadyAddresses: true
  selector:
    {{- include "billing-stream.selectorLabels" . | nindent 4 }}
  ports:
    - name: metrics
      port: {{ get (dict "gateway" 9090 "consumer" 9091 "reconciler" 9095) .component }}
      targetPort: metrics
{{- end }}

{{/* Argument: dict root, component, budget. */}}
{{- define "billing-stream.podDisruptionBudget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "billing-stream.fullname" .root }}-{{ .component }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "billing-stream.labels" . | nindent 4 }}
spec:
  maxUnavailable: {{ .budget.maxUnavailable }}
  selector:
    matchLabels:
      {{- include "billing-stream.selectorLabels" . | nindent 6 }}
{{- end }}

{{/*
A Job before each install and upgrade. The last one stays until the next, so that its log can be read.
Argument: dict root, component, args (list), env (text), kafka (whether it speaks to Kafka), weight, job (its values).
*/}}
{{- define "billing-stream.job" -}}
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ include "billing-stream.fullname" .root }}-{{ .component }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "billing-stream.labels" . | nindent 4 }}
  annotations:
    helm.sh/hook: pre-install,pre-upgrade
    helm.sh/hook-weight: {{ .weight | quote }}
    helm.sh/hook-delete-policy: before-hook-creation
spec:
  backoffLimit: {{ .job.backoffLimit }}
  activeDeadlineSeconds: {{ .job.activeDeadlineSeconds }}
  template:
    metadata:
      labels:
        {{- include "billing-stream.labels" . | nindent 8 }}
    spec:
      restartPolicy: Never
      serviceAccountName: {{ include "billing-stream.jobServiceAccountName" .root }}
      {{- include "billing-stream.pod" .root | nindent 6 }}
      {{- with .kafka | ternary (include "billing-stream.kafkaVolume" .root) "" | trim }}
        {{- . | nindent 8 }}
      {{- end }}
      containers:
        - name: {{ .component }}
          args:
            {{- toYaml .args | nindent 12 }}
          {{- include "billing-stream.container" .root | nindent 10 }}
          {{- with .kafka | ternary (include "billing-stream.kafkaMount" .root) "" | trim }}
            {{- . | nindent 12 }}
          {{- end }}
          env:
            {{- .env | nindent 12 }}
          {{- with .job.resources }}
          resources:
            {{- toYaml . | nindent 12 }}
          {{- end }}
{{- end }}
