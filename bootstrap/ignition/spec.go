package ignition

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"

	v30 "github.com/coreos/ignition/v2/config/v3_0/types"
	v31 "github.com/coreos/ignition/v2/config/v3_1/types"
	v32 "github.com/coreos/ignition/v2/config/v3_2/types"
	v33 "github.com/coreos/ignition/v2/config/v3_3/types"
	v34 "github.com/coreos/ignition/v2/config/v3_4/types"
	v35 "github.com/coreos/ignition/v2/config/v3_5/types"
	v36 "github.com/coreos/ignition/v2/config/v3_6/types"
	ignition "github.com/coreos/ignition/v2/config/validate"
	"github.com/coreos/vcontext/report"
	v20 "github.com/flatcar/ignition/config/v2_0/types"
	v21 "github.com/flatcar/ignition/config/v2_1/types"
	v22 "github.com/flatcar/ignition/config/v2_2/types"
	v23 "github.com/flatcar/ignition/config/v2_3/types"
	v24 "github.com/flatcar/ignition/config/v2_4/types"
	flatcar "github.com/flatcar/ignition/config/validate"
)

// spec is a version of Ignition: how it names what we touch, and its official parser.
type spec struct {
	version string
	// children names the list of configs to be merged.
	children string
	// enable names what enables a unit; 2.0.0 has only what later versions deprecate.
	enable string
	// v2 tells that a file names its filesystem, and that replace is in force as soon as it is there.
	v2 bool
	// compression tells that a config within the config may be compressed.
	compression bool
	// view is what the official types keep of a config.
	view func(config []byte) ([]byte, error)
	// check is view after the checks that the official parser does.
	check func(config []byte) ([]byte, error)
}

// specs are the versions in use. 3.0.0 to 3.6.0: https://coreos.github.io/ignition/specs; 2.0.0 to 2.4.0:
// https://coreos.github.io/ignition/migrating-configs and https://github.com/flatcar/ignition/tree/v0.36.2/doc.
var specs = func() map[string]spec {
	all := map[string]spec{}
	for _, s := range []spec{
		two[v20.Config]("2.0.0", "enable"),
		two[v21.Config]("2.1.0", "enabled"),
		two[v22.Config]("2.2.0", "enabled"),
		two[v23.Config]("2.3.0", "enabled"),
		two[v24.Config]("2.4.0", "enabled"),
		three[v30.Config]("3.0.0", false),
		three[v31.Config]("3.1.0", true),
		three[v32.Config]("3.2.0", true),
		three[v33.Config]("3.3.0", true),
		three[v34.Config]("3.4.0", true),
		three[v35.Config]("3.5.0", true),
		three[v36.Config]("3.6.0", true),
	} {
		all[s.version] = s
	}
	return all
}()

// two is a version 2.x. Parse itself is not called here and below: it does the same and then looks up the lines of what it
// warns of, for which the one of 2.x takes 24 s with 512 KiB.
func two[C any](version, enable string) spec {
	check := func(config []byte) ([]byte, error) {
		var c C
		if json.Unmarshal(config, &c) != nil || flatcar.ValidateWithoutSource(reflect.ValueOf(c)).IsFatal() {
			return nil, fmt.Errorf("it is not valid Ignition %s", version)
		}
		return json.Marshal(c)
	}
	return spec{version: version, children: "append", enable: enable, v2: true, view: view[C], check: check}
}

// three is a version 3.x.
func three[C any](version string, compression bool) spec {
	check := func(config []byte) ([]byte, error) {
		var c C
		if json.Unmarshal(config, &c) != nil {
			return nil, fmt.Errorf("it is not valid Ignition %s", version)
		}
		if rpt := ignition.ValidateWithContext(c, nil); rpt.IsFatal() {
			return nil, fmt.Errorf("it is not valid Ignition %s%s", version, where(rpt))
		}
		return json.Marshal(c)
	}
	return spec{version: version, children: "merge", enable: "enabled", compression: compression, view: view[C], check: check}
}

func view[C any](config []byte) ([]byte, error) {
	var c C
	if json.Unmarshal(config, &c) != nil {
		return nil, errForm
	}
	return json.Marshal(c)
}

// where is the place of the first error; its message may quote the config (I7).
func where(rpt report.Report) string {
	for _, entry := range rpt.Entries {
		if entry.Kind == report.Error {
			return " at " + entry.Context.String()
		}
	}
	return ""
}

// versionLike is a version that may be quoted, as it cannot hold a secret.
var versionLike = regexp.MustCompile(`^[0-9]{1,2}\.[0-9]{1,2}\.[0-9]{1,2}(-experimental|-dev)?$`)

func specOf(version string) (spec, error) {
	if s, ok := specs[version]; ok {
		return s, nil
	}
	if !versionLike.MatchString(version) {
		version = "of unknown form"
	}
	return spec{}, fmt.Errorf("ignition.version %s: 2.0.0 to 2.4.0 and 3.0.0 to 3.6.0 are accepted", version)
}
