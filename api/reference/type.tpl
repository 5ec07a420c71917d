{{- define "type" -}}
{{- if markdownShouldRenderType . }}
### {{ .Name }}

{{ .Doc | replace "\n" " " }}
{{ if .References }}
In: {{ range $i, $type := .SortedReferences }}{{ if $i }}, {{ end }}{{ markdownRenderTypeLink $type }}{{ end }}
{{ end -}}
{{ if .Members }}
| field | | limits |
|---|---|---|
{{ if .GVK -}}
| `apiVersion` _string_ | `{{ .GVK.Group }}/{{ .GVK.Version }}` | |
| `kind` _string_ | `{{ .GVK.Kind }}` | |
{{ end -}}
{{ range .Members }}{{ template "member" . }}{{ end -}}
{{ end -}}
{{ if .EnumValues }}
| value | |
|---|---|
{{ range .EnumValues -}}
| `{{ .Name }}` | {{ regexReplaceAll "^\\S+ " (.Doc | replace "\n" " " | trim) "" | markdownRenderFieldDoc }} |
{{ end -}}
{{ end -}}
{{ end -}}
{{- end -}}

{{- define "member" -}}
{{- $limits := list -}}
{{- range .Validation }}{{ if not (regexMatch "^(Optional|Schemaless|Type|ExactlyOneOf)" .) }}{{ $limits = append $limits (regexReplaceAll ": \\{\\}$" . "") }}{{ end }}{{ end -}}
| `{{ .Name }}` _{{ markdownRenderType .Type }}_ | {{ .Doc | replace "\n" " " | markdownRenderFieldDoc }} | {{ join ", " $limits }} |
{{ end -}}
