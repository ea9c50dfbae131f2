{{/* The pod of the keeper, for the Deployment and for the hook that runs before an upgrade. */}}

{{/* dict "root" $ "account" NAME "commands" (list of shell commands) "script" CONFIGMAP */}}
{{- define "sidelock.keeperPod" -}}
{{- $values := .root.Values.keeper -}}
serviceAccountName: {{ .account }}
automountServiceAccountToken: true
enableServiceLinks: false
{{- with include "sidelock.pullSecrets" .root }}
{{ . }}
{{- end }}
{{ include "sidelock.podSecurity" .root }}
{{- with include "sidelock.placement" $values | trim }}
{{ . }}
{{- end }}
containers:
  - name: keeper
    image: {{ include "sidelock.image" (dict "image" $values.image "tag" $values.image.tag) }}
    imagePullPolicy: {{ $values.image.pullPolicy }}
    command: [/bin/sh, -c]
    args:
      - {{ join " && " .commands | quote }}
    env:
      - name: NAMESPACE
        value: {{ .root.Release.Namespace }}
      - name: STATEFULSET
        value: {{ include "sidelock.core" .root }}
      - name: SELECTOR
        value: {{ printf "app.kubernetes.io/instance=%s,app.kubernetes.io/component=core" .root.Release.Name | quote }}
      - name: PERIOD
        value: {{ int $values.periodSeconds | quote }}
      - name: DELETE_REMOVED
        value: {{ and .root.Values.core.persistence.enabled .root.Values.core.persistence.deleteRemoved | quote }}
      {{- if include "sidelock.keeperTokens" .root }}
      - name: TOKENS
        value: {{ include "sidelock.tokensConfigMap" .root }}
      - name: TOKENS_EVERY
        value: {{ int .root.Values.tokens.refreshSeconds | quote }}
      - name: TOKENS_LABELS
        value: {{ printf "app.kubernetes.io/instance=%s" .root.Release.Name | quote }}
      {{- end }}
      # kubectl keeps what it learns of the API there.
      - name: HOME
        value: /tmp
    {{- with $values.resources }}
    resources:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- include "sidelock.containerSecurity" .root | nindent 4 }}
    volumeMounts:
      - name: script
        mountPath: /keeper
        readOnly: true
      - name: tmp
        mountPath: /tmp
volumes:
  - name: script
    configMap:
      name: {{ .script }}
  - name: tmp
    emptyDir:
      sizeLimit: 64Mi
{{- end -}}

{{/* Not empty if the keeper fetches the keys of tokens. */}}
{{- define "sidelock.keeperTokens" -}}
{{- if and .Values.tokens.enabled (eq .Values.tokens.source "cluster") -}}yes{{- end -}}
{{- end -}}

{{/*
What it may do, all by name: run commands in the nodes' pods, read the StatefulSet, delete volumes of removed nodes (never
the first one's), write the keys of tokens. Reading pods and making a config map cannot be limited to names.
*/}}
{{- define "sidelock.keeperRules" -}}
{{- $core := include "sidelock.core" . -}}
{{- $most := include "sidelock.ordinalsMax" . | int -}}
- apiGroups: [apps]
  resources: [statefulsets]
  resourceNames: [{{ $core }}]
  verbs: [get]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list]
- apiGroups: [""]
  resources: [pods/exec]
  resourceNames:
    {{- range $ordinal := until $most }}
    - {{ $core }}-{{ $ordinal }}
    {{- end }}
  # Commands run over a WebSocket are a GET, over SPDY a POST.
  verbs: [get, create]
{{- if and .Values.core.persistence.enabled .Values.core.persistence.deleteRemoved }}
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  resourceNames:
    {{- range $ordinal := untilStep 1 $most 1 }}
    - data-{{ $core }}-{{ $ordinal }}
    {{- end }}
  verbs: [get, delete]
{{- end }}
{{- if include "sidelock.keeperTokens" . }}
- apiGroups: [""]
  resources: [configmaps]
  verbs: [create]
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: [{{ include "sidelock.tokensConfigMap" . }}]
  verbs: [get, patch, update]
{{- end }}
{{- end -}}
