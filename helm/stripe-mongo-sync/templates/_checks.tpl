{{/* What the schema cannot say. Every fault is told at once, in words. Included by the templates that are always rendered. */}}

{{/* Takes what, the values that may give it, and how they are called. Gives a sentence where not exactly one is set. */}}
{{- define "stripe-mongo-sync.oneSource" -}}
{{- $given := list -}}
{{- range $name, $value := .from -}}
{{- if $value -}}{{- $given = append $given $name -}}{{- end -}}
{{- end -}}
{{- if not $given -}}
{{ .what }} is missing: set {{ keys .from | sortAlpha | join " or " }}
{{- else if gt (len $given) 1 -}}
{{ .what }} is given more than once ({{ $given | sortAlpha | join ", " }}): keep one of them
{{- end -}}
{{- end -}}

{{- define "stripe-mongo-sync.check" -}}
{{- $faults := list -}}
{{- $faults = append $faults (include "stripe-mongo-sync.oneSource" (dict "what" "The Stripe API key" "from" (dict
  "stripe.apiKey" .Values.stripe.apiKey
  "stripe.existingSecret.name" .Values.stripe.existingSecret.name
  "stripe.apiKeyFile" .Values.stripe.apiKeyFile))) -}}
{{- $faults = append $faults (include "stripe-mongo-sync.oneSource" (dict "what" "MongoDB's connection string" "from" (dict
  "mongodb.uri" .Values.mongodb.uri
  "mongodb.existingSecret.name" .Values.mongodb.existingSecret.name
  "mongodb.uriFile" .Values.mongodb.uriFile))) -}}
{{- if .Values.migrate.enabled -}}
{{- $faults = append $faults (include "stripe-mongo-sync.oneSource" (dict "what" "The migrating user's connection string" "from" (dict
  "migrate.mongodb.uri" .Values.migrate.mongodb.uri
  "migrate.mongodb.existingSecret.name" .Values.migrate.mongodb.existingSecret.name
  "migrate.mongodb.uriFile" .Values.migrate.mongodb.uriFile))) -}}
{{- end -}}

{{- /* Told without the value: it is a secret. */ -}}
{{- if not (regexMatch "^((sk|rk)_(test|live)_[A-Za-z0-9_]+)?$" .Values.stripe.apiKey) -}}
{{- $faults = append $faults "stripe.apiKey must start with sk_test_, sk_live_, rk_test_ or rk_live_, and have no white space" -}}
{{- end -}}
{{- range $name, $uri := dict "mongodb.uri" .Values.mongodb.uri "migrate.mongodb.uri" .Values.migrate.mongodb.uri -}}
{{- if not (regexMatch "^(mongodb(\\+srv)?://\\S+)?$" $uri) -}}
{{- $faults = append $faults (printf "%s must start with mongodb:// or mongodb+srv://, and have no white space" $name) -}}
{{- end -}}
{{- end -}}

{{- $config := include "stripe-mongo-sync.effectiveConfig" . | fromYaml -}}
{{- $timeoutMs := int $config.shutdown.timeoutMs -}}
{{- $graceSeconds := int .Values.terminationGracePeriodSeconds -}}
{{- if le (mul $graceSeconds 1000) $timeoutMs -}}
{{- $faults = append $faults (printf "terminationGracePeriodSeconds must be above config.shutdown.timeoutMs, got %d s for %d ms: the daemon would be killed before it has stopped" $graceSeconds $timeoutMs) -}}
{{- end -}}

{{- /* The settings' own default is for a process on a desk; whoever copies all of them here has copied it, too. */ -}}
{{- $host := dig "http" "host" "0.0.0.0" .Values.config -}}
{{- if regexMatch "^(localhost|127\\..*|::1)$" $host -}}
{{- $faults = append $faults (printf "config.http.host must be an address that probes and Prometheus can reach, such as 0.0.0.0 or ::, got %s" $host) -}}
{{- end -}}

{{- $replicas := int .Values.replicaCount -}}
{{- with .Values.podDisruptionBudget -}}
{{- $least := toString .minAvailable -}}
{{- if and .enabled (gt $replicas 1) (regexMatch "^\\d+$" $least) (ge (int $least) $replicas) -}}
{{- $faults = append $faults (printf "podDisruptionBudget.minAvailable must be below replicaCount, got %s of %d: no node with a pod of it could be drained" $least $replicas) -}}
{{- end -}}
{{- end -}}

{{- $instead := dict
  "CONFIG_FILE" "config"
  "HTTP_HOST" "config.http.host"
  "HTTP_PORT" "config.http.port"
  "SHUTDOWN_TIMEOUT_MS" "config.shutdown.timeoutMs"
  "STRIPE_API_KEY" "stripe"
  "STRIPE_API_KEY_FILE" "stripe.apiKeyFile"
  "MONGODB_URI" "mongodb"
  "MONGODB_URI_FILE" "mongodb.uriFile"
-}}
{{- range .Values.extraEnv -}}
{{- with get $instead .name -}}
{{- $faults = append $faults (printf "extraEnv must not hold what the chart sets itself: use %s" .) -}}
{{- end -}}
{{- end -}}

{{- if and .Values.serviceMonitor.enabled .Values.podMonitor.enabled -}}
{{- $faults = append $faults "serviceMonitor and podMonitor are both enabled: every pod would be scraped twice, keep one of them" -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled (not .Values.service.enabled) -}}
{{- $faults = append $faults "serviceMonitor needs service.enabled; podMonitor works without" -}}
{{- end -}}

{{- $faults = compact $faults -}}
{{- if $faults -}}
{{- fail (printf "\n\nThese values cannot be used:\n  - %s\n" (join "\n  - " $faults)) -}}
{{- end -}}
{{- end -}}
