{{- define "gvList" -}}
<!-- Written by `make generate` from the comments in api/v1alpha1. -->
# API reference

`kubectl explain registrycache.spec --recursive` shows the same. What an option does beyond its name, and what its change costs: [options](options.md). What conditions and
Events mean: [conditions and Events](conditions.md).
{{ range . }}
{{ template "gvDetails" . }}
{{- end }}
{{- end -}}
