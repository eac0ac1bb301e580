{{/* Names and pieces that all templates share. */}}

{{- define "mlops-bot.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "mlops-bot.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "mlops-bot.labels" -}}
{{ include "mlops-bot.selectorLabels" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | quote }}
app.kubernetes.io/part-of: mlops-bot
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* The image of a program: dict "root" $ "name" NAME. ko puts its own reference in
     place of ko://PACKAGE, so that one has neither tag nor digest. */}}
{{- define "mlops-bot.image" -}}
{{- $image := .root.Values.image -}}
{{- $digest := get $image.digests .name -}}
{{- if hasPrefix "ko://" $image.registry -}}
{{ $image.registry }}/{{ .name }}
{{- else if $digest -}}
{{ $image.registry }}/{{ .name }}@{{ $digest }}
{{- else -}}
{{ $image.registry }}/{{ .name }}:{{ $image.tag | default .root.Chart.AppVersion }}
{{- end }}
{{- end }}

{{- define "mlops-bot.host" -}}
{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}
{{- end }}

{{/* Where functions publish: the broker's ingress, which its class decides. */}}
{{- define "mlops-bot.brokerURL" -}}
{{- $b := .Values.broker -}}
{{- if $b.url -}}
{{ $b.url }}
{{- else if eq $b.class "MTChannelBasedBroker" -}}
http://broker-ingress.knative-eventing.svc.{{ .Values.clusterDomain }}/{{ .Release.Namespace }}/{{ $b.name }}
{{- else if eq $b.class "Kafka" -}}
http://kafka-broker-ingress.knative-eventing.svc.{{ .Values.clusterDomain }}/{{ .Release.Namespace }}/{{ $b.name }}
{{- else if eq $b.class "KafkaNamespaced" -}}
http://kafka-broker-ingress.{{ include "mlops-bot.host" . }}/{{ .Release.Namespace }}/{{ $b.name }}
{{- else if eq $b.class "RabbitMQBroker" -}}
http://{{ $b.name }}-broker-ingress.{{ include "mlops-bot.host" . }}
{{- else -}}
{{ fail (printf "broker.class %s is unknown here: set broker.url to its ingress" $b.class) }}
{{- end }}
{{- end }}

{{/* Where a broker's own pods are: "true" for classes that run them in the broker's
     namespace, not in knative-eventing. */}}
{{- define "mlops-bot.brokerHere" -}}
{{- if has .Values.broker.class (list "KafkaNamespaced" "RabbitMQBroker") }}true{{ end }}
{{- end }}

{{/* What the schema can't say of secrets without showing them. */}}
{{- define "mlops-bot.checkSecrets" -}}
{{- $key := .Values.github.privateKey }}
{{- if and $key (not (regexMatch "^-----BEGIN [A-Z ]*PRIVATE KEY-----\\s" $key)) }}{{ fail "github.privateKey is no PEM file of a private key: --set-file github.privateKey=FILE" }}{{ end }}
{{- if not (regexMatch "^[A-Za-z0-9_.~-]*$" .Values.redis.auth.password) }}{{ fail "redis.auth.password may hold letters, digits, '-', '_', '.' and '~' only, since it is a part of a URL" }}{{ end }}
{{- end }}

{{/* What the schema can't say of the functions' values. */}}
{{- define "mlops-bot.checkScaling" -}}
{{- range $name, $f := .Values.functions }}
{{- if gt (int $f.minScale) (int $f.maxScale) }}{{ fail (printf "functions.%s.minScale (%d) is above its maxScale (%d)" $name (int $f.minScale) (int $f.maxScale)) }}{{ end }}
{{- if gt (int $f.target) (int $f.containerConcurrency) }}{{ fail (printf "functions.%s.target (%d) is above its containerConcurrency (%d): pods would be added only after they are full" $name (int $f.target) (int $f.containerConcurrency)) }}{{ end }}
{{- end }}
{{- end }}

{{/* Connections to Postgres of one pod: what max-scale of all functions leaves to
     each, at most database.maxConnectionsPerPod, at least 2. */}}
{{- define "mlops-bot.connections" -}}
{{- $pods := 0 -}}
{{- range $f := .Values.functions }}{{ $pods = add $pods (ternary (int $f.maxScale) 1 $.Values.autoscaling.enabled) }}{{ end -}}
{{- $all := int .Values.postgresql.maxConnections -}}
{{- $reserved := int .Values.database.reservedConnections -}}
{{- $each := min (int .Values.database.maxConnectionsPerPod) (div (sub $all $reserved) $pods) -}}
{{- if lt (int $each) 2 -}}
{{ fail (printf "the functions' maxScale adds up to %d pods; with 2 connections each they need %d, but Postgres takes %d, of which %d are reserved: lower functions.*.maxScale, or raise postgresql.maxConnections" (int $pods) (mul 2 $pods) $all $reserved) }}
{{- end -}}
{{ $each }}
{{- end }}

{{/* Names of the Secrets: existing ones, or those that the release makes. */}}
{{- define "mlops-bot.githubSecret" -}}
{{ .Values.github.existingSecret | default (printf "%s-github" (include "mlops-bot.fullname" .)) }}
{{- end }}
{{- define "mlops-bot.keysSecret" -}}
{{ .Values.keys.existingSecret | default (printf "%s-keys" (include "mlops-bot.fullname" .)) }}
{{- end }}
{{- define "mlops-bot.notifySecret" -}}
{{ .Values.notify.existingSecret | default (printf "%s-notify" (include "mlops-bot.fullname" .)) }}
{{- end }}

{{/* The settings that are no secrets. */}}
{{- define "mlops-bot.settings" -}}
HOST: 0.0.0.0
LOG_LEVEL: {{ .Values.logLevel | quote }}
ENVIRONMENT: {{ .Values.environment | quote }}
PUBLIC_URL: {{ .Values.publicURL | quote }}
RATE_LIMIT_PER_MINUTE: {{ .Values.rateLimitPerMinute | int | quote }}
TRUSTED_PROXIES: {{ join "," .Values.trustedProxies | quote }}
ENABLE_AUTO_SCALING: {{ .Values.autoscaling.enabled | quote }}
DELIVERY_RETENTION: {{ .Values.retention.deliveries | quote }}
RECORD_RETENTION: {{ .Values.retention.records | quote }}
{{- with .Values.github }}
{{- if .appID }}
GITHUB_APP_ID: {{ .appID | int64 | quote }}
GITHUB_PRIVATE_KEY_PATH: /etc/github/private-key.pem
{{- end }}
GITHUB_API_URL: {{ .apiURL | quote }}
GITHUB_GRAPHQL_URL: {{ .graphqlURL | quote }}
GITHUB_LOG_HOSTS: {{ join "," .logHosts | quote }}
GITHUB_INSECURE_API: {{ .insecureAPI | quote }}
{{- end }}
NOTIFY_INSECURE_HTTP: {{ .Values.notify.insecureHTTP | quote }}
{{- end }}

{{/* The keys that what is kept at rest is sealed with. */}}
{{- define "mlops-bot.encryptionEnv" -}}
{{- $keys := include "mlops-bot.keysSecret" . -}}
- name: ENCRYPTION_KEY
  valueFrom: {secretKeyRef: {name: {{ $keys }}, key: encryption-key}}
- name: ENCRYPTION_KEY_PREVIOUS
  valueFrom: {secretKeyRef: {name: {{ $keys }}, key: encryption-key-previous, optional: true}}
{{- end }}

{{/* A program's environment: dict "root" $ "program" NAME "workers" N. */}}
{{- define "mlops-bot.env" -}}
{{- $ := .root -}}
- {name: MAX_WORKERS, value: {{ .workers | default 8 | int | quote }}}
- {name: DATABASE_MAX_CONNECTIONS, value: {{ include "mlops-bot.connections" $ | quote }}}
{{ include "mlops-bot.stores.databaseEnv" $ | trim }}
{{- with include "mlops-bot.stores.redisEnv" $ | trim }}
{{ . }}
{{- end }}
{{- if has .program (list "webhook" "detect" "repair" "notify") }}
- {name: K_SINK, value: {{ include "mlops-bot.brokerURL" $ | quote }}}
{{- end }}
{{- $github := include "mlops-bot.githubSecret" $ }}
{{- if has .program (list "webhook" "doctor") }}
- name: GITHUB_WEBHOOK_SECRET
  valueFrom: {secretKeyRef: {name: {{ $github }}, key: webhook-secret}}
- name: GITHUB_WEBHOOK_SECRET_PREVIOUS
  valueFrom: {secretKeyRef: {name: {{ $github }}, key: webhook-secret-previous, optional: true}}
{{- end }}
{{- if and (not $.Values.github.appID) (has .program (list "webhook" "detect" "repair" "notify" "doctor")) }}
- name: GITHUB_TOKEN
  valueFrom: {secretKeyRef: {name: {{ $github }}, key: token}}
{{- end }}
{{ include "mlops-bot.encryptionEnv" $ }}
- name: SECRET_KEY
  valueFrom: {secretKeyRef: {name: {{ include "mlops-bot.keysSecret" $ }}, key: secret-key}}
{{- if has .program (list "notify" "doctor") }}
{{- range $var, $key := dict "NOTIFY_SLACK_WEBHOOK_URL" "slack-webhook-url" "NOTIFY_WEBHOOK_URL" "webhook-url" "NOTIFY_WEBHOOK_SECRET" "webhook-secret" }}
- name: {{ $var }}
  valueFrom: {secretKeyRef: {name: {{ include "mlops-bot.notifySecret" $ }}, key: {{ $key }}, optional: true}}
{{- end }}
{{- end }}
{{- if and $.Values.rules (has .program (list "detect" "doctor")) }}
- {name: RULES_DIR, value: /etc/mlops-bot/rules}
{{- end }}
{{- with $.Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Volumes and mounts of a program; lists' items, or nothing. */}}
{{- define "mlops-bot.volumes" -}}
{{- $ := .root -}}
{{- if and $.Values.github.appID (has .program (list "detect" "repair" "notify" "doctor")) }}
- name: github
  secret: {secretName: {{ include "mlops-bot.githubSecret" $ }}, items: [{key: private-key.pem, path: private-key.pem}]}
{{- end }}
{{- if and $.Values.rules (has .program (list "detect" "doctor")) }}
- name: rules
  configMap: {name: {{ include "mlops-bot.fullname" $ }}-rules}
{{- end }}
{{ include "mlops-bot.stores.databaseVolumes" $ }}
{{ include "mlops-bot.stores.redisVolumes" $ }}
{{- end }}

{{- define "mlops-bot.mounts" -}}
{{- $ := .root -}}
{{- if and $.Values.github.appID (has .program (list "detect" "repair" "notify" "doctor")) }}
- {name: github, mountPath: /etc/github, readOnly: true}
{{- end }}
{{- if and $.Values.rules (has .program (list "detect" "doctor")) }}
- {name: rules, mountPath: /etc/mlops-bot/rules, readOnly: true}
{{- end }}
{{ include "mlops-bot.stores.databaseMounts" $ }}
{{ include "mlops-bot.stores.redisMounts" $ }}
{{- end }}

{{/* What every container of the bot is allowed: nothing. */}}
{{- define "mlops-bot.containerSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* Changes with every setting and secret, so that a change makes a new revision.
     Existing Secrets count as they are at the time of the rendering. */}}
{{- define "mlops-bot.checksum" -}}
{{- $seen := list (include "mlops-bot.settings" .) (include "mlops-bot.stores.databaseChecksum" .) (include "mlops-bot.stores.redisChecksum" .) -}}
{{- range $group := list .Values.github .Values.keys .Values.notify -}}
{{- $seen = append $seen (toJson $group) -}}
{{- with $group.existingSecret -}}
{{- $seen = append $seen ((lookup "v1" "Secret" $.Release.Namespace . | default dict).data | toJson) -}}
{{- end -}}
{{- end -}}
{{ join "\n" $seen | sha256sum }}
{{- end }}
