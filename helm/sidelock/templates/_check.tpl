{{/* What the schema cannot see: values that contradict each other. Included by core/statefulset.yaml. */}}
{{- define "sidelock.check" -}}
{{- if and (gt (int .Values.core.replicas) 1) (not .Values.core.persistence.enabled) -}}
{{- fail "core.persistence.enabled: a cell of several nodes needs volumes: a node without its disk has to be replaced by hand" -}}
{{- end -}}
{{- if and .Values.tokens.enabled (not .Values.tls.enabled) -}}
{{- fail "tokens.enabled needs tls.enabled: a token sent in plaintext is everybody's" -}}
{{- end -}}
{{- if and .Values.rules (not .Values.tls.enabled) -}}
{{- fail "rules need tls.enabled: without it nobody has an identity" -}}
{{- end -}}
{{- if .Values.tokens.enabled -}}
{{- if and (eq .Values.tokens.source "cluster") (not .Values.keeper.enabled) -}}
{{- fail "tokens.source cluster needs keeper.enabled: the keeper fetches the keys" -}}
{{- end -}}
{{- if eq .Values.tokens.source "values" -}}
{{- $_ := required "tokens.issuer is needed with tokens.source values: kubectl get --raw /.well-known/openid-configuration" .Values.tokens.issuer -}}
{{- $_ := required "tokens.jwks is needed with tokens.source values: kubectl get --raw /openid/v1/jwks" .Values.tokens.jwks -}}
{{- end -}}
{{- if eq .Values.tokens.source "configMap" -}}
{{- $_ := required "tokens.configMap is needed with tokens.source configMap" .Values.tokens.configMap -}}
{{- end -}}
{{- end -}}
{{- if eq .Values.tls.source "secret" -}}
{{- if .Values.tls.enabled -}}
{{- $_ := required "tls.secret.core is needed with tls.source secret" .Values.tls.secret.core -}}
{{- $_ := required "tls.secret.identity is needed with tls.source secret: without it nobody may change the cell" .Values.tls.secret.identity -}}
{{- end -}}
{{- if .Values.injector.enabled -}}
{{- $_ := required "tls.secret.injector is needed with tls.source secret" .Values.tls.secret.injector -}}
{{- $_ := required "tls.secret.injectorCa is needed with tls.source secret" .Values.tls.secret.injectorCa -}}
{{- end -}}
{{- end -}}
{{- if ge (int .Values.tls.selfSigned.renewDays) (int .Values.tls.selfSigned.days) -}}
{{- fail "tls.selfSigned.renewDays must be less than tls.selfSigned.days, else every upgrade makes new certificates" -}}
{{- end -}}
{{- end -}}
