{{/* Names, labels and the pieces that several objects have in common. */}}

{{- define "batchpilot.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Labels that never change: selectors are made of them. Takes (dict "root" $ "component" "agents"). */}}
{{- define "batchpilot.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "batchpilot.labels" -}}
{{ include "batchpilot.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: batchpilot
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Takes (dict "image" .Values.image "tag" "1.0"). */}}
{{- define "batchpilot.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default .tag }}
{{- end -}}
{{- end -}}

{{- define "batchpilot.registry" -}}
/registry/{{ .Values.registry.name }}
{{- end -}}

{{- define "batchpilot.claim" -}}
{{- .Values.registry.existingClaim | default (printf "%s-registry" (include "batchpilot.fullname" .)) -}}
{{- end -}}

{{- define "batchpilot.secret" -}}
{{- .Values.broker.existingSecret | default (printf "%s-broker" (include "batchpilot.fullname" .)) -}}
{{- end -}}

{{- define "batchpilot.brokerUrl" -}}
{{- if .Values.broker.deploy -}}
redis://{{ include "batchpilot.fullname" . }}-broker:6379/0
{{- else -}}
{{ .Values.broker.external.url }}
{{- end -}}
{{- end -}}

{{- define "batchpilot.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "batchpilot.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* What pods of ours have in common. Takes (dict "root" $ "values" .Values.agents). */}}
{{- define "batchpilot.pod" -}}
serviceAccountName: {{ include "batchpilot.serviceAccount" .root }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* What containers of ours have in common. */}}
{{- define "batchpilot.container" -}}
image: {{ include "batchpilot.image" (dict "image" .Values.image "tag" .Chart.AppVersion) }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
workingDir: /registry
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
{{- end -}}

{{/* The CA of an external broker: agents look for it where the coordinator does. */}}
{{- define "batchpilot.caMount" -}}
{{- if and (not .Values.broker.deploy) .Values.broker.external.caSecret }}
- name: broker-ca
  mountPath: /etc/batchpilot/ca
  readOnly: true
{{- end }}
{{- end -}}

{{- define "batchpilot.caVolume" -}}
{{- if and (not .Values.broker.deploy) .Values.broker.external.caSecret }}
- name: broker-ca
  secret:
    secretName: {{ .Values.broker.external.caSecret }}
    items:
      - key: {{ .Values.broker.external.caKey }}
        path: ca.crt
{{- end }}
{{- end -}}
