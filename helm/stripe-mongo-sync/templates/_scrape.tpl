{{/* How Prometheus scrapes, the same of a ServiceMonitor and a PodMonitor. Takes the values of either. */}}
{{- define "stripe-mongo-sync.scrape" -}}
path: /metrics
interval: {{ .interval }}
scrapeTimeout: {{ .scrapeTimeout }}
{{- /* The operator names the port in a label `endpoint`; of calls to Stripe the metric's own must stay. */}}
honorLabels: true
{{- with .relabelings }}
relabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
