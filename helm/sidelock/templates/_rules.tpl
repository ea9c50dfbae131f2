{{/*
Your rules; without any, what the nodes do without a file: whoever is authenticated may read and claim. And what the chart
itself needs, since nothing else changes a cell with certificates: the nodes, by the name in their certificate, may see
and change the cell (preStop, keeper); the pod of `helm test` may take its lock.
*/}}
{{- define "sidelock.rules" -}}
{{- $rules := .Values.rules | default (list (dict "identities" (list "*") "prefixes" (list "") "may" (list "read" "claim"))) -}}
{{- $nodes := include "sidelock.coreIdentity" . -}}
{{- $rules = append $rules (dict "identities" (list $nodes) "prefixes" (list "") "may" (list "read" "admin")) -}}
{{- if .Values.tests.enabled -}}
{{- $who := ternary (printf "system:serviceaccount:%s:%s" .Release.Namespace (include "sidelock.test" .)) $nodes .Values.tokens.enabled -}}
{{- $rules = append $rules (dict "identities" (list $who) "prefixes" (list "sidelock-test/") "may" (list "claim")) -}}
{{- end -}}
{{- dict "rules" $rules | toYaml -}}
{{- end -}}

{{/* Who the nodes are: the common name of the certificate that the chart asks for, or what you say of yours. */}}
{{- define "sidelock.coreIdentity" -}}
{{- if eq .Values.tls.source "secret" -}}
{{ .Values.tls.secret.identity }}
{{- else -}}
{{ include "sidelock.core" . }}
{{- end -}}
{{- end -}}
