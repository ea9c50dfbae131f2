{{/*
Certificates made by Helm. They are kept by looking up what the last release has left: the authority for ever, a
certificate until its names change or its end comes near. Helm cannot read a certificate, so annotations say both.
*/}}

{{- define "sidelock.caSecret" -}}{{ include "sidelock.fullname" . }}-ca{{- end -}}

{{/* Puts "sidelockMade" into the root, once for all templates: ca, core and injector, each with cert and key. */}}
{{- define "sidelock.make" -}}
{{- if not (hasKey . "sidelockMade") -}}
{{- $ca := dict -}}
{{- $kept := lookup "v1" "Secret" .Release.Namespace (include "sidelock.caSecret" .) -}}
{{- if and (dig "data" "ca.crt" "" $kept) (dig "data" "ca.key" "" $kept) -}}
{{- $ca = buildCustomCert (index $kept.data "ca.crt") (index $kept.data "ca.key") -}}
{{- else -}}
{{- $ca = genCA (printf "%s-ca" (include "sidelock.fullname" .)) (int .Values.tls.selfSigned.caDays) -}}
{{- end -}}
{{- $made := dict "ca" $ca -}}
{{- $_ := set . "sidelockMade" $made -}}
{{- $core := include "sidelock.coreNames" . | fromJsonArray -}}
{{- $_ := set $made "core" (include "sidelock.leaf" (dict "root" . "ca" $ca "name" (include "sidelock.core" .) "dns" $core "ips" (list "127.0.0.1" "::1")) | fromJson) -}}
{{- $injector := include "sidelock.serviceNames" (dict "root" . "name" (include "sidelock.injector" .)) | fromJsonArray -}}
{{- $_ := set $made "injector" (include "sidelock.leaf" (dict "root" . "ca" $ca "name" (include "sidelock.injector" .) "dns" $injector "ips" (list)) | fromJson) -}}
{{- end -}}
{{- end -}}

{{/* One certificate as JSON: cert and key in base64, id, until. Kept or made anew. */}}
{{- define "sidelock.leaf" -}}
{{- $days := int .root.Values.tls.selfSigned.days -}}
{{- $id := list .ca.Cert .name .dns .ips | toJson | sha256sum | trunc 16 -}}
{{- $now := now | unixEpoch | int64 -}}
{{- $kept := lookup "v1" "Secret" .root.Release.Namespace (printf "%s-tls" .name) -}}
{{- $until := dig "metadata" "annotations" "sidelock.dev/valid-until" "0" $kept | int64 -}}
{{- $last := add $now (mul (int .root.Values.tls.selfSigned.renewDays) 86400) -}}
{{- if and (eq $id (dig "metadata" "annotations" "sidelock.dev/certificate-id" "" $kept)) (gt $until $last) -}}
{{- dict "cert" (index $kept.data "tls.crt") "key" (index $kept.data "tls.key") "id" $id "until" (toString $until) | toJson -}}
{{- else -}}
{{- $new := genSignedCert .name .ips .dns $days .ca -}}
{{- dict "cert" ($new.Cert | b64enc) "key" ($new.Key | b64enc) "id" $id "until" (add $now (mul $days 86400) | toString) | toJson -}}
{{- end -}}
{{- end -}}

{{/* What an API server checks the webhook against, in base64; nothing where cert-manager fills it in. */}}
{{- define "sidelock.caBundle" -}}
{{- if eq .Values.tls.source "selfSigned" -}}
{{- include "sidelock.make" . -}}
{{- .sidelockMade.ca.Cert | b64enc -}}
{{- else if eq .Values.tls.source "secret" -}}
{{- .Values.tls.secret.injectorCa | b64enc -}}
{{- end -}}
{{- end -}}
