{{/* What the pods of the daemon and of helm test, and their containers, have in common. */}}

{{- define "stripe-mongo-sync.podSpec" -}}
serviceAccountName: {{ include "stripe-mongo-sync.serviceAccountName" . }}
automountServiceAccountToken: {{ .Values.serviceAccount.automountServiceAccountToken }}
# A Service named "http" would otherwise set HTTP_PORT.
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "stripe-mongo-sync.imageOf" -}}
image: {{ include "stripe-mongo-sync.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- with .Values.securityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* env, envFrom and volumeMounts of a container. Takes root and secrets: a mapping of variables to names of secrets. */}}
{{- define "stripe-mongo-sync.settingsOf" -}}
{{- $root := .root -}}
{{- $secrets := include "stripe-mongo-sync.secrets" $root | fromYaml -}}
env:
  - name: CONFIG_FILE
    value: /etc/stripe-mongo-sync/config.yaml
  # The image sets it, and the environment wins over the file.
  - name: HTTP_HOST
    value: {{ dig "http" "host" "0.0.0.0" $root.Values.config | quote }}
  {{- range $variable, $name := .secrets }}
  - name: {{ $variable }}
    value: {{ (get $secrets $name).file | quote }}
  {{- end }}
  {{- with $root.Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $root.Values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumeMounts:
  - name: config
    mountPath: /etc/stripe-mongo-sync
    readOnly: true
  {{- range $variable, $name := .secrets }}
  {{- with get $secrets $name }}
  {{- if .secretName }}
  # The folder, not the file in it (subPath), which would never change.
  - name: {{ $name }}
    mountPath: {{ dir .file }}
    readOnly: true
  {{- end }}
  {{- end }}
  {{- end }}
  {{- with $root.Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* The volumes that these mount. Takes root and secrets: a list of names. */}}
{{- define "stripe-mongo-sync.volumes" -}}
{{- $root := .root -}}
{{- $secrets := include "stripe-mongo-sync.secrets" $root | fromYaml -}}
- name: config
  configMap:
    name: {{ include "stripe-mongo-sync.fullname" $root }}
{{- range .secrets }}
{{- with get $secrets . }}
{{- if .secretName }}
- name: {{ base (dir .file) }}
  secret:
    secretName: {{ .secretName }}
    defaultMode: 0440
    items:
      - key: {{ .key }}
        path: {{ .key }}
{{- end }}
{{- end }}
{{- end }}
{{- with $root.Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* A probe. Takes values and path. */}}
{{- define "stripe-mongo-sync.probe" -}}
httpGet:
  path: {{ .path }}
  port: http
{{ toYaml (omit .values "enabled") }}
{{- end -}}
