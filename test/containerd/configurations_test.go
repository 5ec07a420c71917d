//go:build e2e

package containerd

const (
	// sandboxImage and SystemdCgroup are what nodes cannot do without, and no default.
	sandboxImage = "registry.example/pause:spec"

	cri = `version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "` + sandboxImage + `"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = true
`
	criVersion1 = `[plugins.cri]
  sandbox_image = "` + sandboxImage + `"
  [plugins.cri.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins.cri.containerd.runtimes.runc.options]
      SystemdCgroup = true
`
	// criVersion3 lacks its first line, the version.
	criVersion3 = `
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = '` + sandboxImage + `'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = 'io.containerd.runc.v2'
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
    SystemdCgroup = true
`
	registryTable = "[plugins.\"io.containerd.grpc.v1.cri\".registry]\n"
	imports       = "imports = [\"/etc/containerd/conf.d/*.toml\"]\n"
	foreignDropIn = "/etc/containerd/conf.d/50-foreign.toml"

	flatcarConfig  = "/usr/share/containerd/config.toml"
	flatcarService = `[Service]
Environment=CONTAINERD_CONFIG=` + flatcarConfig + `
ExecStart=
ExecStart=/usr/bin/env PATH=/usr/local/bin:/usr/bin:/bin containerd --config ${CONTAINERD_CONFIG}
`
)

// situation is what the files of a payload meet on a node.
type situation struct {
	// files of the node, and the root configuration that cannot be written there, if there is one.
	files    files
	readOnly string
	// generated: the root configuration is what containerd itself prints as the default.
	generated bool
	// settings: sandboxImage and SystemdCgroup are set.
	settings bool
	// unchanged: containerd is not restarted and has the configuration that it had.
	unchanged bool
	// unsupported is a part of the reason, "" if the mirrors are to be used.
	unsupported string
}

func root(config string) files { return files{rootConfig: config} }

// situations that every version may be in.
var situations = map[string]situation{
	"no configuration":                 {},
	"the generated default":            {generated: true},
	"kubeadm's settings":               {files: root(cri), settings: true},
	"a root that imports conf.d":       {files: root(imports + cri), settings: true},
	"a directory that is already set":  {files: root(cri + registryTable + `config_path = "/etc/containerd/certs.d"`), settings: true, unchanged: true},
	"a table without the directory":    {files: root(cri + registryTable + "[plugins.\"io.containerd.grpc.v1.cri\".registry.headers]\nX-A = [\"b\"]\n"), settings: true},
	"a foreign drop-in with CRI":       {files: files{rootConfig: "version = 2\n" + imports, foreignDropIn: cri}, settings: true},
	"a read-only root, as Flatcar's":   {readOnly: imports + cri, settings: true},
	"mirrors in the configuration":     {files: root(cri + "[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"quay.io\"]\nendpoint = [\"http://10.0.0.1\"]\n"), settings: true, unsupported: "registry.mirrors"},
	"another directory that is set":    {files: root(cri + registryTable + `config_path = "/srv/certs.d"`), settings: true, unsupported: "'/srv/certs.d', not '/etc/containerd/certs.d'"},
	"a read-only root without imports": {readOnly: "imports = [\"/srv/*.toml\"]\n" + cri, settings: true, unsupported: "could not be set"},
}

// situations of some versions only.
var (
	situationsOf1 = map[string]situation{
		"a root of version 1":               {files: root(criVersion1), settings: true},
		"certificates in the configuration": {files: root(cri + "[plugins.\"io.containerd.grpc.v1.cri\".registry.configs.\"quay.io\".tls]\ninsecure_skip_verify = true\n"), settings: true, unsupported: "registry.configs.*.tls"},
	}
	situationsOf2 = map[string]situation{
		"a root of version 3":                   {files: root("version = 3" + criVersion3), settings: true},
		"a root of version 3 that imports":      {files: root(imports + "version = 3" + criVersion3), settings: true},
		"a drop-in of version 3, a root of 2":   {files: files{rootConfig: "version = 2\n" + imports, foreignDropIn: "version = 3" + criVersion3}, settings: true},
		"a root without version, which imports": {files: root(imports), settings: false},
	}
	situationsSince22 = map[string]situation{
		"the list that is the default": {files: root(cri + registryTable + `config_path = "/etc/containerd/certs.d:/etc/docker/certs.d"`), settings: true},
	}
	situationsSince23 = map[string]situation{
		"a root of version 4": {files: root("version = 4" + criVersion3), settings: true},
	}
)
