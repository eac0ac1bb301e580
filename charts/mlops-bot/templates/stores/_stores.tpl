{{/* Names and pieces that the stores, their backups and whoever speaks to them share. */}}

{{/* An image of {repository, tag, digest}. */}}
{{- define "mlops-bot.stores.image" -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag }}{{ end }}
{{- end }}

{{/* Labels of a store's or backup's objects: dict "root" $ "component" NAME. */}}
{{- define "mlops-bot.stores.labels" -}}
{{ include "mlops-bot.labels" .root }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "mlops-bot.stores.selector" -}}
{{ include "mlops-bot.selectorLabels" .root }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* What every pod of the stores is allowed: nothing. The argument is its user. */}}
{{- define "mlops-bot.stores.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ . | int }}
runAsGroup: {{ . | int }}
fsGroup: {{ . | int }}
# A recursive chown at each start would give Postgres' files to the group, too.
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "mlops-bot.stores.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* The specification of a claim, of a persistence block. */}}
{{- define "mlops-bot.stores.claim" -}}
accessModes: {{ toJson .accessModes }}
{{- if eq (toString .storageClass) "-" }}
storageClassName: ""
{{- else if .storageClass }}
storageClassName: {{ .storageClass | quote }}
{{- end }}
{{- with .volumeName }}
volumeName: {{ . | quote }}
{{- end }}
resources:
  requests: {storage: {{ .size | quote }}}
{{- end }}

{{/* Where a pod of the stores may run, of a store's values. */}}
{{- define "mlops-bot.stores.placement" -}}
{{- with .priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with .tolerations }}
tolerations: {{ toJson . }}
{{- end }}
{{- with .affinity }}
affinity: {{ toJson . }}
{{- end }}
{{- end }}

{{/* The Secret with a store's certificate: dict "root" $ "store" postgresql|redis. */}}
{{- define "mlops-bot.stores.tlsSecret" -}}
{{- $tls := (index .root.Values .store).tls -}}
{{- $tls.existingSecret | default (printf "%s-%s-tls" (include "mlops-bot.fullname" .root) .store) -}}
{{- end }}

{{/* Postgres' settings as arguments; the same for the StatefulSet and for a recovery. */}}
{{- define "mlops-bot.stores.postgresArgs" -}}
{{- $p := .Values.postgresql }}
- -c
- max_connections={{ $p.maxConnections | int }}
{{- if $p.tls.enabled }}
- -c
- ssl=on
- -c
- ssl_cert_file=/etc/mlops-bot/postgres-tls/tls.crt
- -c
- ssl_key_file=/etc/mlops-bot/postgres-tls/tls.key
{{- end }}
{{- if include "mlops-bot.backup.pitr" . }}
- -c
- archive_mode=on
- -c
- archive_command=/bin/sh /etc/mlops-bot/postgres/postgres-archive.sh "%p" "%f" /backup/wal
- -c
- archive_timeout={{ .Values.backup.pitr.archiveTimeout | int }}s
{{- end }}
{{- range $name, $value := $p.settings }}
- -c
- {{ printf "%s=%v" $name $value | quote }}
{{- end }}
{{- end }}

{{/* Whether WAL is archived: "true" or nothing. */}}
{{- define "mlops-bot.backup.pitr" -}}
{{- if and .Values.postgresql.enabled .Values.backup.enabled .Values.backup.pitr.enabled }}true{{ end }}
{{- end }}

{{- define "mlops-bot.backup.claimName" -}}
{{ .Values.backup.persistence.existingClaim | default (printf "%s-backup" (include "mlops-bot.fullname" .)) }}
{{- end }}

{{- define "mlops-bot.postgresql.claimName" -}}
{{ .Values.postgresql.persistence.existingClaim | default "data-postgres-0" }}
{{- end }}

{{- define "mlops-bot.redis.claimName" -}}
{{ .Values.redis.persistence.existingClaim | default "data-redis-0" }}
{{- end }}

{{/* The data of Postgres' ConfigMap. */}}
{{- define "mlops-bot.postgresql.files" -}}
{{- $p := .Values.postgresql }}
{{- $host := ternary "hostssl" "host   " $p.tls.enabled }}
{{- range $file := list "postgres.conf" "postgres-start.sh" "postgres-archive.sh" }}
{{ $file }}: |
{{ $.Files.Get (printf "files/%s" $file) | trim | indent 2 }}
{{- end }}
postgres-hba.conf: |
{{- range $line := .Files.Get "files/postgres-hba.conf" | trim | splitList "\n" }}
{{- if or (not (contains "@BACKUP_USER@" $line)) (include "mlops-bot.backup.pitr" $) }}
{{ $line | replace "@HOST@" $host | replace "@DATABASE@" $p.database | replace "@USER@" $p.username | replace "@BACKUP_USER@" $.Values.backup.pitr.username | indent 2 }}
{{- end }}
{{- end }}
postgres-ident.conf: |
{{ .Files.Get "files/postgres-ident.conf" | trim | replace "@USER@" $p.username | indent 2 }}
{{- end }}

{{/* The data of Redis' ConfigMap. */}}
{{- define "mlops-bot.redis.files" -}}
{{- range $file := list "redis.conf" "redis-start.sh" "redis-cli.sh" "redis-ping.sh" }}
{{ $file }}: |
{{ $.Files.Get (printf "files/%s" $file) | trim | indent 2 }}
{{- end }}
redis-extra.conf: |
  # From the chart's values.
  {{- if .Values.redis.tls.enabled }}
  port 0
  tls-port 6379
  tls-cert-file /etc/mlops-bot/redis-tls/tls.crt
  tls-key-file /etc/mlops-bot/redis-tls/tls.key
  tls-ca-cert-file /etc/mlops-bot/redis-tls/ca.crt
  tls-auth-clients no
  tls-protocols "TLSv1.2 TLSv1.3"
  {{- end }}
  {{- range $name, $value := .Values.redis.settings }}
  {{ $name }} {{ $value }}
  {{- end }}
{{- end }}

{{/* A certificate by cert-manager: dict "root" $ "store" NAME "service" NAME. */}}
{{- define "mlops-bot.stores.certificate" -}}
{{- $tls := (index .root.Values .store).tls }}
{{- if not $tls.issuerRef.name }}{{ fail (printf "%s.tls.enabled needs %s.tls.existingSecret or %s.tls.issuerRef" .store .store .store) }}{{ end }}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata:
  name: {{ include "mlops-bot.fullname" .root }}-{{ .store }}
  labels: {{- include "mlops-bot.stores.labels" (dict "root" .root "component" .store) | nindent 4 }}
spec:
  secretName: {{ include "mlops-bot.stores.tlsSecret" . }}
  issuerRef: {{ toJson $tls.issuerRef }}
  dnsNames:
    - {{ .service }}
    - {{ .service }}.{{ .root.Release.Namespace }}
    - {{ .service }}.{{ .root.Release.Namespace }}.svc
  privateKey: {rotationPolicy: Always}
{{- end }}

{{/* Names of the Secrets with the stores' passwords: the release's own, or existing
     ones, with the keys `password` and, for point-in-time recovery, `backup-password`. */}}
{{- define "mlops-bot.stores.databaseSecret" -}}
{{ .Values.postgresql.auth.existingSecret | default (printf "%s-postgres" (include "mlops-bot.fullname" .)) }}
{{- end }}

{{- define "mlops-bot.stores.redisSecret" -}}
{{ .Values.redis.auth.existingSecret | default (printf "%s-redis" (include "mlops-bot.fullname" .)) }}
{{- end }}

{{/* A password of the release: the value, or what the cluster has already, or a new
     one, the same within one rendering: dict "root" $ "auth" AUTH "secret" NAME "key" KEY "value" NAME. */}}
{{- define "mlops-bot.stores.password" -}}
{{- if not (index .auth .value) }}
{{- $old := dig "data" .key "" (lookup "v1" "Secret" .root.Release.Namespace .secret | default dict) }}
{{- $_ := set .auth .value (ternary (b64dec $old) (randAlphaNum 40) (ne $old "")) }}
{{- end }}
{{- index .auth .value -}}
{{- end }}

{{/* The data of the Secrets that the release makes. */}}
{{- define "mlops-bot.stores.databaseSecretData" -}}
{{- $secret := include "mlops-bot.stores.databaseSecret" . }}
password: {{ include "mlops-bot.stores.password" (dict "root" $ "auth" .Values.postgresql.auth "secret" $secret "key" "password" "value" "password") | b64enc }}
{{- if include "mlops-bot.backup.pitr" . }}
backup-password: {{ include "mlops-bot.stores.password" (dict "root" $ "auth" .Values.postgresql.auth "secret" $secret "key" "backup-password" "value" "backupPassword") | b64enc }}
{{- end }}
{{- end }}

{{- define "mlops-bot.stores.redisSecretData" -}}
{{- $secret := include "mlops-bot.stores.redisSecret" . }}
password: {{ include "mlops-bot.stores.password" (dict "root" $ "auth" .Values.redis.auth "secret" $secret "key" "password" "value" "password") | b64enc }}
{{- end }}

{{/* Whether the release makes a Secret for the database: its own one's, or one
     elsewhere whose password is a value. */}}
{{- define "mlops-bot.stores.makesDatabaseSecret" -}}
{{- $p := .Values.postgresql }}
{{- if and (not $p.auth.existingSecret) (or $p.enabled $p.auth.password) }}true{{ end }}
{{- end }}

{{/* What changes when a password does, so that who holds it is started anew. For
     existing Secrets it is what the cluster has at the time of the rendering. */}}
{{- define "mlops-bot.stores.databaseChecksum" -}}
{{- if include "mlops-bot.stores.makesDatabaseSecret" . }}
{{- include "mlops-bot.stores.databaseSecretData" . | sha256sum }}
{{- else }}
{{- (lookup "v1" "Secret" .Release.Namespace (include "mlops-bot.stores.databaseSecret" .) | default dict).data | toJson | sha256sum }}
{{- end }}
{{- end }}

{{- define "mlops-bot.stores.redisChecksum" -}}
{{- if .Values.redis.auth.existingSecret }}
{{- (lookup "v1" "Secret" .Release.Namespace .Values.redis.auth.existingSecret | default dict).data | toJson | sha256sum }}
{{- else if .Values.redis.enabled }}
{{- include "mlops-bot.stores.redisSecretData" . | sha256sum }}
{{- end }}
{{- end }}

{{/* How the bot reaches the database: DB_PASSWORD and DATABASE_URL. */}}
{{- define "mlops-bot.stores.databaseEnv" -}}
{{- $p := .Values.postgresql }}
{{- if or $p.enabled $p.auth.existingSecret $p.auth.password }}
- name: DB_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ include "mlops-bot.stores.databaseSecret" . }}, key: password}}
{{- end }}
{{- if $p.enabled }}
- name: DATABASE_URL
  value: postgres://{{ $p.username }}@postgres-service:5432/{{ $p.database }}?sslmode={{ if $p.tls.enabled }}verify-full&sslrootcert=/etc/mlops-bot/database-ca/ca.crt{{ else }}disable{{ end }}
{{- else if $p.external.existingSecret }}
- name: DATABASE_URL
  valueFrom: {secretKeyRef: {name: {{ $p.external.existingSecret | quote }}, key: {{ $p.external.existingSecretKey | quote }}}}
{{- else }}
- name: DATABASE_URL
  value: {{ required "postgresql.enabled=false needs postgresql.external.url or postgresql.external.existingSecret" $p.external.url | quote }}
{{- end }}
{{- end }}

{{/* How the bot reaches Redis: REDIS_URL, or nothing. */}}
{{- define "mlops-bot.stores.redisEnv" -}}
{{- $r := .Values.redis }}
{{- if or $r.enabled $r.external.existingSecret $r.external.url }}
{{- if or $r.enabled $r.auth.existingSecret }}
- name: REDIS_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ include "mlops-bot.stores.redisSecret" . }}, key: password}}
{{- end }}
{{- if $r.enabled }}
- name: REDIS_URL
  value: {{ ternary "rediss" "redis" $r.tls.enabled }}://:$(REDIS_PASSWORD)@redis-service:6379/0
{{- else if $r.external.existingSecret }}
- name: REDIS_URL
  valueFrom: {secretKeyRef: {name: {{ $r.external.existingSecret | quote }}, key: {{ $r.external.existingSecretKey | quote }}}}
{{- else }}
- name: REDIS_URL
  value: {{ $r.external.url | quote }}
{{- end }}
{{- if include "mlops-bot.stores.redisCA" . }}
- {name: REDIS_CA_FILE, value: /etc/mlops-bot/cache-ca/ca.crt}
{{- end }}
{{- end }}
{{- end }}

{{/* The Secret with the CA certificate (ca.crt) of a store, or nothing. */}}
{{- define "mlops-bot.stores.databaseCA" -}}
{{- $p := .Values.postgresql -}}
{{- if $p.enabled }}{{ if $p.tls.enabled }}{{ include "mlops-bot.stores.tlsSecret" (dict "root" . "store" "postgresql") }}{{ end }}{{ else }}{{ $p.external.caSecret }}{{ end }}
{{- end }}

{{- define "mlops-bot.stores.redisCA" -}}
{{- $r := .Values.redis -}}
{{- if $r.enabled }}{{ if $r.tls.enabled }}{{ include "mlops-bot.stores.tlsSecret" (dict "root" . "store" "redis") }}{{ end }}{{ else }}{{ $r.external.caSecret }}{{ end }}
{{- end }}

{{/* Volumes and mounts that a pod needs to check the stores' certificates; nothing
     without TLS. They are lists' items. */}}
{{- define "mlops-bot.stores.databaseVolumes" -}}
{{- with include "mlops-bot.stores.databaseCA" . -}}
- name: database-ca
  secret: {secretName: {{ . | quote }}, items: [{key: ca.crt, path: ca.crt}]}
{{- end }}
{{- end }}

{{- define "mlops-bot.stores.databaseMounts" -}}
{{- with include "mlops-bot.stores.databaseCA" . -}}
- {name: database-ca, mountPath: /etc/mlops-bot/database-ca, readOnly: true}
{{- end }}
{{- end }}

{{- define "mlops-bot.stores.redisVolumes" -}}
{{- with include "mlops-bot.stores.redisCA" . -}}
- name: cache-ca
  secret: {secretName: {{ . | quote }}, items: [{key: ca.crt, path: ca.crt}]}
{{- end }}
{{- end }}

{{- define "mlops-bot.stores.redisMounts" -}}
{{- with include "mlops-bot.stores.redisCA" . -}}
- {name: cache-ca, mountPath: /etc/mlops-bot/cache-ca, readOnly: true}
{{- end }}
{{- end }}
