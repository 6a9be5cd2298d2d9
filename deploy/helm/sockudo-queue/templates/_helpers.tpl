{{- define "sockudo-queue.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "sockudo-queue.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains (include "sockudo-queue.name" .) .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "sockudo-queue.name" .) | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "sockudo-queue.selectorLabels" -}}
app.kubernetes.io/name: {{ include "sockudo-queue.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "sockudo-queue.labels" -}}
{{ include "sockudo-queue.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "sockudo-queue.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ default $.Chart.AppVersion .tag }}{{ end }}
{{- end }}
{{- end }}

{{- define "sockudo-queue.isSidecar" -}}
{{- if eq .Values.mode "sidecar" }}true{{ end }}
{{- end }}

{{- define "sockudo-queue.portName" -}}
{{ ternary "queue-metrics" "metrics" (eq .Values.mode "sidecar") }}
{{- end }}

{{- define "sockudo-queue.gracePeriod" -}}
{{- $least := add (div (int .Values.shutdownTimeoutMs) 1000) 5 }}
{{- $whole := default (ternary 75 30 (eq .Values.mode "sidecar")) .Values.terminationGracePeriodSeconds | int }}
{{- if lt $whole (int $least) }}
{{- fail (printf "terminationGracePeriodSeconds is %d: set it to %d or more, 5 s longer than shutdownTimeoutMs" $whole $least) }}
{{- end }}
{{- $whole }}
{{- end }}

{{- define "sockudo-queue.env" -}}
{{- with .Values.redis.existingSecret }}
- name: REDIS_URL
  valueFrom:
    secretKeyRef:
      name: {{ . }}
      key: {{ $.Values.redis.key }}
{{- end }}
- name: QUEUE_SHUTDOWN_TIMEOUT_MS
  value: {{ .Values.shutdownTimeoutMs | int | quote }}
{{- if ne (int .Values.metrics.port) 9602 }}
- name: QUEUE_METRICS_PORT
  value: {{ .Values.metrics.port | int | quote }}
{{- end }}
{{- with .Values.metrics.login }}
{{- $secret := .existingSecret }}
{{- if $secret }}
{{- if ne (empty .usernameKey) (empty .passwordKey) }}
{{- fail "metrics.login: set usernameKey and passwordKey together" }}
{{- end }}
{{- if not (or .passwordKey .tokenKey) }}
{{- fail "metrics.login: set usernameKey and passwordKey, or tokenKey, to keys of the Secret existingSecret" }}
{{- end }}
{{- range $variable, $key := dict "QUEUE_METRICS_PASSWORD" .passwordKey "QUEUE_METRICS_TOKEN" .tokenKey "QUEUE_METRICS_USERNAME" .usernameKey }}
{{- if $key }}
- name: {{ $variable }}
  valueFrom:
    secretKeyRef:
      name: {{ $secret }}
      key: {{ $key }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- if .Values.metrics.tls.existingSecret }}
- name: QUEUE_METRICS_TLS_CERT_FILE
  value: /etc/sockudo-queue-tls/tls.crt
- name: QUEUE_METRICS_TLS_KEY_FILE
  value: /etc/sockudo-queue-tls/tls.key
{{- end }}
{{- range $name, $value := .Values.settings }}
- name: {{ $name }}
  value: {{ $value | toString | quote }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "sockudo-queue.probe" -}}
httpGet:
  path: {{ .path }}
  port: {{ include "sockudo-queue.portName" .root }}
  {{- if .root.Values.metrics.tls.existingSecret }}
  scheme: HTTPS
  {{- end }}
{{- end }}

{{- /* The daemon's container, the same in both modes but for what the callers add. */ -}}
{{- define "sockudo-queue.container" -}}
name: sockudo-queue
image: {{ include "sockudo-queue.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
env:
  {{- include "sockudo-queue.env" . | trim | nindent 2 }}
{{- with .Values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
ports:
  - name: {{ include "sockudo-queue.portName" . }}
    containerPort: {{ .Values.metrics.port }}
# A sidecar's server starts when this succeeds. /livez answers before Redis does, so an outage delays no start.
startupProbe:
  {{- include "sockudo-queue.probe" (dict "root" . "path" "/livez") | nindent 2 }}
  periodSeconds: 1
  failureThreshold: 30
livenessProbe:
  {{- include "sockudo-queue.probe" (dict "root" . "path" "/livez") | nindent 2 }}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
securityContext:
  allowPrivilegeEscalation: false
  capabilities:
    drop: [ALL]
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  seccompProfile:
    type: RuntimeDefault
volumeMounts:
  - name: config
    mountPath: /etc/sockudo-queue
    readOnly: true
  {{- if .Values.metrics.tls.existingSecret }}
  - name: metrics-tls
    mountPath: /etc/sockudo-queue-tls
    readOnly: true
  {{- end }}
{{- end }}

{{- define "sockudo-queue.volumes" -}}
- name: config
  secret:
    secretName: {{ required "config.existingSecret: name the Secret that holds config.json" .Values.config.existingSecret }}
{{- with .Values.metrics.tls.existingSecret }}
- name: metrics-tls
  secret:
    secretName: {{ . }}
{{- end }}
{{- end }}

{{- /* What every pod has, in both modes. */ -}}
{{- define "sockudo-queue.pod" -}}
automountServiceAccountToken: {{ not (empty .Values.serviceAccountName) }}
{{- with .Values.serviceAccountName }}
serviceAccountName: {{ . }}
{{- end }}
# A Service called "queue" would otherwise become a variable QUEUE_PORT.
enableServiceLinks: false
terminationGracePeriodSeconds: {{ include "sockudo-queue.gracePeriod" . }}
{{- range $key := list "imagePullSecrets" "nodeSelector" "tolerations" "affinity" "priorityClassName" }}
{{- with index $.Values $key }}
{{ $key }}: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- if ne (toString .Values.topologySpreadConstraints) "<nil>" }}
topologySpreadConstraints:
  {{- toYaml .Values.topologySpreadConstraints | nindent 2 }}
{{- else if eq .Values.mode "standalone" }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "sockudo-queue.selectorLabels" . | nindent 8 }}
{{- end }}
{{- end }}
