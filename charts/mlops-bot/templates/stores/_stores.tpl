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
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata:
  name: {{ include "mlops-bot.fullname" .root }}-{{ .store }}
  labels: {{- include "mlops-bot.stores.labels" (dict "root" .root "component" .store) | nindent 4 }}
spec:
  secretName: {{ include "mlops-bot.stores.tlsSecret" . }}
  issuerRef: {{ required (printf "%s.tls.enabled needs %s.tls.existingSecret or %s.tls.issuerRef" .store .store .store) $tls.issuerRef | toJson }}
  dnsNames:
    - {{ .service }}
    - {{ .service }}.{{ .root.Release.Namespace }}
    - {{ .service }}.{{ .root.Release.Namespace }}.svc
  privateKey: {rotationPolicy: Always}
{{- end }}
