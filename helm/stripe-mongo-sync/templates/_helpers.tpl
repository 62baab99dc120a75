{{/* Names, labels, the image, and where secrets come from. What is checked before anything is rendered is in _checks.tpl. */}}

{{- define "stripe-mongo-sync.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 50 characters, so that what is named after it has a name of at most 63, too. */}}
{{- define "stripe-mongo-sync.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "stripe-mongo-sync.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "stripe-mongo-sync.instanceLabels" -}}
app.kubernetes.io/name: {{ include "stripe-mongo-sync.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{/* Selects the daemon's pods, not that of helm test. Cannot be changed after the first installation. */}}
{{- define "stripe-mongo-sync.selectorLabels" -}}
{{ include "stripe-mongo-sync.instanceLabels" . }}
app.kubernetes.io/component: daemon
{{- end -}}

{{/* Labels of pods. Without the chart's version: a new chart alone restarts nothing. Takes root, and labels of the user's. */}}
{{- define "stripe-mongo-sync.podLabels" -}}
{{- $own := include "stripe-mongo-sync.instanceLabels" .root | fromYaml -}}
{{- $_ := set $own "app.kubernetes.io/version" (default .root.Chart.AppVersion .root.Values.image.tag | trunc 63 | trimAll "-._") -}}
{{- with .component -}}
{{- $_ := set $own "app.kubernetes.io/component" . -}}
{{- end -}}
{{- toYaml (merge $own (.labels | default dict) .root.Values.commonLabels) -}}
{{- end -}}

{{/* metadata of an object. Takes root, name, and as wanted namespace, component, labels, annotations. The chart's own labels win. */}}
{{- define "stripe-mongo-sync.metadata" -}}
{{- $own := include "stripe-mongo-sync.podLabels" . | fromYaml -}}
{{- $chart := printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimAll "-._" -}}
name: {{ .name }}
namespace: {{ default .root.Release.Namespace .namespace }}
labels:
  {{- merge (dict "helm.sh/chart" $chart "app.kubernetes.io/managed-by" .root.Release.Service) $own | toYaml | nindent 2 }}
{{- with .annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "stripe-mongo-sync.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "stripe-mongo-sync.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "stripe-mongo-sync.image" -}}
{{- with .Values.image -}}
{{- if .registry }}{{ trimSuffix "/" .registry }}/{{ end }}{{ .repository }}
{{- if .digest }}@{{ .digest }}{{ else }}:{{ default $.Chart.AppVersion .tag }}{{ end -}}
{{- end -}}
{{- end -}}

{{/*
The secrets as a mapping by name. Of each: file (the path in the container), and where it is mounted by this chart also secretName, key,
and value where the Secret is created here.
*/}}
{{- define "stripe-mongo-sync.secrets" -}}
{{- $fullname := include "stripe-mongo-sync.fullname" . -}}
{{- $sources := dict
  "stripe" (dict "value" .Values.stripe.apiKey "existing" .Values.stripe.existingSecret "file" .Values.stripe.apiKeyFile)
  "mongodb" (dict "value" .Values.mongodb.uri "existing" .Values.mongodb.existingSecret "file" .Values.mongodb.uriFile)
-}}
{{- with .Values.migrate -}}
{{- if .enabled -}}
{{- $_ := set $sources "migrate" (dict "value" .mongodb.uri "existing" .mongodb.existingSecret "file" .mongodb.uriFile) -}}
{{- end -}}
{{- end -}}
{{- $secrets := dict -}}
{{- range $name, $source := $sources -}}
{{- $secret := dict "file" $source.file -}}
{{- if not $source.file -}}
{{- $secret = dict
  "file" (printf "/var/run/secrets/stripe-mongo-sync/%s/%s" $name $source.existing.key)
  "key" $source.existing.key
  "secretName" (default (printf "%s-%s" $fullname $name) $source.existing.name)
-}}
{{- with $source.value -}}
{{- $_ := set $secret "value" . -}}
{{- end -}}
{{- end -}}
{{- $_ := set $secrets $name $secret -}}
{{- end -}}
{{- toYaml $secrets -}}
{{- end -}}

{{/* The config file: what the values say. Where an init container migrates, the daemon does not, unless they say so. */}}
{{- define "stripe-mongo-sync.config" -}}
{{- $config := dict -}}
{{- if .Values.migrate.enabled -}}
{{- $config = dict "mongodb" (dict "autoMigrate" false) -}}
{{- end -}}
{{- toYaml (mustMergeOverwrite $config (deepCopy .Values.config)) -}}
{{- end -}}

{{/* Every setting as it takes effect. */}}
{{- define "stripe-mongo-sync.effectiveConfig" -}}
{{- $defaults := .Files.Get "files/default.yaml" | fromYaml -}}
{{- $config := include "stripe-mongo-sync.config" . | fromYaml -}}
{{- toYaml (mustMergeOverwrite $defaults $config) -}}
{{- end -}}

{{- define "stripe-mongo-sync.port" -}}
{{- (include "stripe-mongo-sync.effectiveConfig" . | fromYaml).http.port | int -}}
{{- end -}}
