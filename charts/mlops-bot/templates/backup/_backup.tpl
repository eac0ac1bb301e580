{{/* The data of the backups' ConfigMap. */}}
{{- define "mlops-bot.backup.files" -}}
{{- range $file := list "backup-prune.sh" "backup-postgres.sh" "backup-base.sh" "backup-redis.sh" "backup-restore-dump.sh" "backup-restore-pitr.sh" "backup-restore-redis.sh" "redis-cli.sh" }}
{{ $file }}: |
{{ $.Files.Get (printf "files/%s" $file) | trim | indent 2 }}
{{- end }}
{{- end }}

{{/* The image with pg_dump. */}}
{{- define "mlops-bot.backup.postgresImage" -}}
{{- include "mlops-bot.stores.image" (mergeOverwrite (deepCopy .Values.postgresql.image) .Values.backup.postgresql.image) -}}
{{- end }}

{{/* What every container of a backup has. */}}
{{- define "mlops-bot.backup.container" -}}
securityContext: {{- include "mlops-bot.stores.containerSecurity" . | nindent 2 }}
resources: {{- toYaml .Values.backup.resources | nindent 2 }}
{{- end }}

{{/* How long backups are kept, as environment. */}}
{{- define "mlops-bot.backup.keep" -}}
- {name: KEEP_DAYS, value: {{ .Values.backup.keepDays | int | quote }}}
- {name: KEEP_LEAST, value: {{ .Values.backup.keepLeast | int | quote }}}
{{- end }}

{{/* What every pod of a backup has. All run as one user, so that each can read
     what another one wrote. dict "root" $ "beside" whether Postgres runs and, with
     point-in-time recovery, holds the volume. */}}
{{- define "mlops-bot.backup.pod" -}}
{{- $p := .root.Values.postgresql -}}
restartPolicy: Never
automountServiceAccountToken: false
enableServiceLinks: false
serviceAccountName: {{ include "mlops-bot.fullname" .root }}
securityContext: {{- include "mlops-bot.stores.podSecurity" $p.runAsUser | nindent 2 }}
{{- if and .beside (include "mlops-bot.backup.pitr" .root) (not (has "ReadWriteMany" .root.Values.backup.persistence.accessModes)) }}
# Only one node can have the volume: Postgres'.
affinity:
  podAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      - topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels: {{- include "mlops-bot.stores.selector" (dict "root" .root "component" "postgresql") | nindent 12 }}
{{- end }}
{{- with $p.nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with $p.tolerations }}
tolerations: {{ toJson . }}
{{- end }}
{{- end }}

{{- define "mlops-bot.backup.volumes" -}}
- {name: tmp, emptyDir: {sizeLimit: 256Mi}}
- name: backup
  persistentVolumeClaim: {claimName: {{ include "mlops-bot.backup.claimName" . }}}
- name: scripts
  configMap: {name: {{ include "mlops-bot.fullname" . }}-backup}
{{- end }}

{{- define "mlops-bot.backup.mounts" -}}
- {name: tmp, mountPath: /tmp}
- {name: backup, mountPath: /backup}
- {name: scripts, mountPath: /etc/mlops-bot/backup, readOnly: true}
{{- end }}

{{/* A pod that writes to the volume once. */}}
{{- define "mlops-bot.backup.checkPod" -}}
{{ include "mlops-bot.backup.pod" (dict "root" . "beside" true) }}
containers:
  - name: check
    image: {{ include "mlops-bot.backup.postgresImage" . }}
    imagePullPolicy: {{ .Values.postgresql.image.pullPolicy }}
    command: [/bin/sh, -euc, 'f=/backup/.writable.tmp; echo yes > "$f"; grep -q yes "$f"; rm "$f"; df -h /backup']
    volumeMounts:
      - {name: backup, mountPath: /backup}
    {{- include "mlops-bot.backup.container" . | nindent 4 }}
volumes:
  - name: backup
    persistentVolumeClaim: {claimName: {{ include "mlops-bot.backup.claimName" . }}}
{{- end }}

{{/* rclone's remote, as environment. */}}
{{- define "mlops-bot.backup.s3Env" -}}
{{- $s := .Values.backup.s3 }}
{{- $secret := required "backup.s3.enabled needs backup.s3.existingSecret (with the keys access-key-id and secret-access-key)" $s.existingSecret }}
- {name: HOME, value: /tmp}
- {name: RCLONE_CONFIG, value: /tmp/rclone.conf}
- {name: RCLONE_CONFIG_S3_TYPE, value: s3}
- {name: RCLONE_CONFIG_S3_PROVIDER, value: {{ $s.provider | quote }}}
- {name: RCLONE_CONFIG_S3_NO_CHECK_BUCKET, value: "true"}
{{- with $s.endpoint }}
- {name: RCLONE_CONFIG_S3_ENDPOINT, value: {{ . | quote }}}
{{- end }}
{{- with $s.region }}
- {name: RCLONE_CONFIG_S3_REGION, value: {{ . | quote }}}
{{- end }}
- name: RCLONE_CONFIG_S3_ACCESS_KEY_ID
  valueFrom: {secretKeyRef: {name: {{ $secret | quote }}, key: access-key-id}}
- name: RCLONE_CONFIG_S3_SECRET_ACCESS_KEY
  valueFrom: {secretKeyRef: {name: {{ $secret | quote }}, key: secret-access-key}}
{{- end }}

{{- define "mlops-bot.backup.s3Path" -}}
{{- $s := .Values.backup.s3 -}}
s3:{{ required "backup.s3.enabled needs backup.s3.bucket" $s.bucket }}{{ with $s.prefix }}/{{ . | trimAll "/" }}{{ end }}
{{- end }}

{{/* A CronJob: dict "root" $ "name" "schedule" "component" "containers" YAML "volumes" YAML. */}}
{{- define "mlops-bot.backup.cronjob" -}}
---
apiVersion: batch/v1
kind: CronJob
metadata:
  name: {{ include "mlops-bot.fullname" .root }}-backup-{{ .name }}
  labels: {{- include "mlops-bot.stores.labels" (dict "root" .root "component" .component) | nindent 4 }}
spec:
  schedule: {{ .schedule | quote }}
  timeZone: Etc/UTC
  concurrencyPolicy: Forbid
  startingDeadlineSeconds: 3600
  successfulJobsHistoryLimit: 1
  failedJobsHistoryLimit: 3
  jobTemplate:
    spec:
      backoffLimit: 2
      activeDeadlineSeconds: {{ .root.Values.backup.activeDeadlineSeconds | int }}
      ttlSecondsAfterFinished: 172800
      template:
        metadata:
          labels: {{- include "mlops-bot.stores.labels" (dict "root" .root "component" .component) | nindent 12 }}
        spec:
          {{- include "mlops-bot.backup.pod" (dict "root" .root "beside" true) | nindent 10 }}
          containers: {{- .containers | nindent 12 }}
          volumes:
            {{- include "mlops-bot.backup.volumes" .root | nindent 12 }}
            {{- with .volumes }}{{ . | nindent 12 }}{{ end }}
{{- end }}

{{- define "mlops-bot.backup.containers.postgresql" -}}
- name: dump
  image: {{ include "mlops-bot.backup.postgresImage" . }}
  imagePullPolicy: {{ .Values.postgresql.image.pullPolicy }}
  command: [/bin/sh, /etc/mlops-bot/backup/backup-postgres.sh]
  env:
    {{- include "mlops-bot.stores.databaseEnv" . | nindent 4 }}
    - {name: BACKUP_DIR, value: /backup/postgresql}
    {{- include "mlops-bot.backup.keep" . | nindent 4 }}
  volumeMounts:
    {{- include "mlops-bot.backup.mounts" . | nindent 4 }}
    {{- with include "mlops-bot.stores.databaseMounts" . }}{{ . | nindent 4 }}{{ end }}
  {{- include "mlops-bot.backup.container" . | nindent 2 }}
{{- end }}

{{- define "mlops-bot.backup.containers.base" -}}
- name: base
  image: {{ include "mlops-bot.stores.image" .Values.postgresql.image }}
  imagePullPolicy: {{ .Values.postgresql.image.pullPolicy }}
  command: [/bin/sh, /etc/mlops-bot/backup/backup-base.sh]
  env:
    - {name: PGHOST, value: postgres-service}
    - {name: PGUSER, value: {{ .Values.backup.pitr.username | quote }}}
    - name: PGPASSWORD
      valueFrom: {secretKeyRef: {name: {{ include "mlops-bot.stores.databaseSecret" . }}, key: backup-password}}
    {{- if .Values.postgresql.tls.enabled }}
    - {name: PGSSLMODE, value: verify-full}
    - {name: PGSSLROOTCERT, value: /etc/mlops-bot/database-ca/ca.crt}
    {{- end }}
    - {name: BACKUP_DIR, value: /backup/base}
    - {name: WAL_DIR, value: /backup/wal}
    {{- include "mlops-bot.backup.keep" . | nindent 4 }}
  volumeMounts:
    {{- include "mlops-bot.backup.mounts" . | nindent 4 }}
    {{- with include "mlops-bot.stores.databaseMounts" . }}{{ . | nindent 4 }}{{ end }}
  {{- include "mlops-bot.backup.container" . | nindent 2 }}
{{- end }}

{{- define "mlops-bot.backup.containers.redis" -}}
- name: snapshot
  image: {{ include "mlops-bot.stores.image" .Values.redis.image }}
  imagePullPolicy: {{ .Values.redis.image.pullPolicy }}
  command: [/bin/sh, /etc/mlops-bot/backup/backup-redis.sh]
  env:
    - {name: REDIS_HOST, value: redis-service}
    - {name: REDIS_PASSWORD_FILE, value: /etc/mlops-bot/redis-auth/password}
    {{- if .Values.redis.tls.enabled }}
    - {name: REDIS_TLS_CA, value: /etc/mlops-bot/cache-ca/ca.crt}
    {{- end }}
    - {name: BACKUP_DIR, value: /backup/redis}
    {{- include "mlops-bot.backup.keep" . | nindent 4 }}
  volumeMounts:
    {{- include "mlops-bot.backup.mounts" . | nindent 4 }}
    - {name: redis-auth, mountPath: /etc/mlops-bot/redis-auth, readOnly: true}
    {{- with include "mlops-bot.stores.redisMounts" . }}{{ . | nindent 4 }}{{ end }}
  {{- include "mlops-bot.backup.container" . | nindent 2 }}
{{- end }}

{{- define "mlops-bot.backup.redisVolumes" -}}
- name: redis-auth
  secret:
    secretName: {{ include "mlops-bot.stores.redisSecret" . }}
    defaultMode: 0440
    items:
      - {key: password, path: password}
{{- with include "mlops-bot.stores.redisVolumes" . }}
{{ . }}
{{- end }}
{{- end }}

{{- define "mlops-bot.backup.containers.secrets" -}}
{{- $names := include "mlops-bot.backup.secretNames" . | fromJsonArray }}
{{- if not .Values.backup.secrets.recipients }}{{ fail "backup.secrets.enabled needs backup.secrets.recipients (age1…)" }}{{ end }}
- name: secrets
  image: {{ include "mlops-bot.image" (dict "root" . "name" "mlops-bot") }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  args:
    - backup
    - secrets
    - --out=/backup/secrets
    - --keep-days={{ .Values.backup.keepDays | int }}
    - --keep-least={{ .Values.backup.keepLeast | int }}
    {{- range .Values.backup.secrets.recipients }}
    - --recipient={{ . }}
    {{- end }}
    {{- range $names }}
    - --from=/secrets/{{ . }}
    {{- end }}
  volumeMounts:
    - {name: backup, mountPath: /backup}
    {{- range $i, $name := $names }}
    - {name: secret-{{ $i }}, mountPath: /secrets/{{ $name }}, readOnly: true}
    {{- end }}
  {{- include "mlops-bot.backup.container" . | nindent 2 }}
{{- end }}

{{- define "mlops-bot.backup.secretVolumes" -}}
{{- range $i, $name := include "mlops-bot.backup.secretNames" . | fromJsonArray }}
- name: secret-{{ $i }}
  secret: {secretName: {{ $name | quote }}, defaultMode: 0440}
{{- end }}
{{- end }}

{{- define "mlops-bot.backup.containers.upload" -}}
- name: upload
  image: {{ include "mlops-bot.stores.image" .Values.backup.s3.image }}
  imagePullPolicy: {{ .Values.backup.s3.image.pullPolicy }}
  # A backup never changes: what differs there is told and left alone.
  args: [copy, /backup, {{ include "mlops-bot.backup.s3Path" . | quote }}, --immutable, --exclude=*.tmp, --exclude=*.tmp/**, --log-level=INFO, --stats=0, --contimeout=30s, --timeout=5m]
  env: {{- include "mlops-bot.backup.s3Env" . | nindent 4 }}
  volumeMounts:
    - {name: tmp, mountPath: /tmp}
    - {name: backup, mountPath: /backup, readOnly: true}
  {{- include "mlops-bot.backup.container" . | nindent 2 }}
{{- end }}

{{/* What a container that runs the command line has beside its name: dict "root" $ "args" LIST. */}}
{{- define "mlops-bot.backup.botContainer" -}}
image: {{ include "mlops-bot.image" (dict "root" .root "name" "mlops-bot") }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
args: {{ toJson .args }}
env: {{- include "mlops-bot.stores.databaseEnv" .root | nindent 2 }}
{{- include "mlops-bot.encryptionEnv" .root | nindent 2 }}
{{- with include "mlops-bot.stores.databaseMounts" .root }}
volumeMounts: {{- . | nindent 2 }}
{{- end }}
{{ include "mlops-bot.backup.container" .root }}
{{- end }}

{{/* The Secrets to back up, as JSON. */}}
{{- define "mlops-bot.backup.secretNames" -}}
{{- $names := concat .Values.backup.secrets.additional (list (include "mlops-bot.githubSecret" .) (include "mlops-bot.keysSecret" .)) }}
{{- if or .Values.postgresql.auth.existingSecret (include "mlops-bot.stores.makesDatabaseSecret" .) }}{{ $names = append $names (include "mlops-bot.stores.databaseSecret" .) }}{{ end }}
{{- if or .Values.redis.auth.existingSecret .Values.redis.enabled }}{{ $names = append $names (include "mlops-bot.stores.redisSecret" .) }}{{ end }}
{{- with .Values.notify }}{{ if or .existingSecret .slackWebhookURL .webhookURL }}{{ $names = append $names (include "mlops-bot.notifySecret" $) }}{{ end }}{{ end }}
{{- $names | uniq | sortAlpha | toJson }}
{{- end }}
