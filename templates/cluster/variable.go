package cluster

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

// description is that of the variable as a whole; fields have those of the CRD.
const description = "registryCache says which pull-through caches a Cluster gets, and how its nodes use them: the spec of its RegistryCache. " +
	"Without a value, the Cluster gets none by its topology."

// Variable returns the definition of the variable registryCache for a ClusterClass, from the schema of spec of RegistryCache in its CRD,
// and a line for each part of it that a ClusterClass cannot carry. spec is not changed.
//
// A ClusterClass takes a part of what a CRD takes (https://github.com/kubernetes-sigs/cluster-api/blob/v1.14.2/api/core/v1beta2/clusterclass_types.go,
// JSONSchemaProps): it knows no kinds of lists and maps, so that entries of a list have no identity, and rules within a list cannot
// compare with the value before. That the keys of a list are unique is said by a rule instead.
func Variable(spec *apiextensionsv1.JSONSchemaProps) (definition *clusterv1.ClusterClassVariable, dropped []string, err error) {
	c := &conversion{}
	reduced := spec.DeepCopy()
	c.reduce(reduced, "spec", false)
	raw, err := json.Marshal(reduced)
	if err != nil {
		return nil, nil, fmt.Errorf("encoding the schema of RegistryCache: %w", err)
	}
	definition = &clusterv1.ClusterClassVariable{Name: addonsv1.ClusterVariable, Required: ptr.To(false)}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields() // what a ClusterClass cannot carry, and is not dropped above
	if err := decoder.Decode(&definition.Schema.OpenAPIV3Schema); err != nil {
		return nil, nil, fmt.Errorf("converting the schema of RegistryCache to that of a ClusterClass variable: %w", err)
	}
	definition.Schema.OpenAPIV3Schema.Description = description
	slices.Sort(c.dropped)
	return definition, c.dropped, nil
}

// conversion collects what is dropped.
type conversion struct{ dropped []string }

func (c *conversion) drop(path, format string, args ...any) {
	c.dropped = append(c.dropped, path+": "+fmt.Sprintf(format, args...))
}

// reduce drops from a schema, and from those within it, what a ClusterClass cannot carry.
func (c *conversion) reduce(schema *apiextensionsv1.JSONSchemaProps, path string, inList bool) {
	c.reduceRules(schema, path, inList)
	c.reduceKinds(schema, path)
	for _, name := range sortedKeys(schema.Properties) {
		property := schema.Properties[name]
		c.reduce(&property, path+"."+name, inList)
		schema.Properties[name] = property
	}
	if schema.Items != nil && schema.Items.Schema != nil {
		c.reduce(schema.Items.Schema, path+"[]", true)
	}
	if schema.AdditionalProperties != nil && schema.AdditionalProperties.Schema != nil {
		c.reduce(schema.AdditionalProperties.Schema, path+"{}", inList)
	}
}

// reduceRules drops rules about changes from the entries of lists.
func (c *conversion) reduceRules(schema *apiextensionsv1.JSONSchemaProps, path string, inList bool) {
	if !inList {
		return
	}
	schema.XValidations = slices.DeleteFunc(schema.XValidations, func(rule apiextensionsv1.ValidationRule) bool {
		transition := strings.Contains(rule.Rule, "oldSelf")
		if transition {
			c.drop(path, "the rule %s", rule.Rule)
		}
		return transition
	})
	if len(schema.XValidations) == 0 {
		schema.XValidations = nil
	}
}

// reduceKinds drops kinds of lists and maps, and says by a rule what can be said of the first.
func (c *conversion) reduceKinds(schema *apiextensionsv1.JSONSchemaProps, path string) {
	if kind := schema.XListType; kind != nil {
		rule := unique(schema, path)
		switch {
		case rule != nil:
			schema.XValidations = append(schema.XValidations, *rule)
			c.drop(path, "x-kubernetes-list-type: %s; a rule says instead that entries are unique", *kind)
		case *kind != "atomic":
			c.drop(path, "x-kubernetes-list-type: %s", *kind)
		}
	}
	if schema.XMapType != nil && *schema.XMapType != "atomic" {
		c.drop(path, "x-kubernetes-map-type: %s", *schema.XMapType)
	}
	schema.XListType, schema.XListMapKeys, schema.XMapType = nil, nil, nil
}

// unique is the rule that each key of a list is there once, nil if it is not such a list, or may be so long that the rule costs too much.
func unique(schema *apiextensionsv1.JSONSchemaProps, path string) *apiextensionsv1.ValidationRule {
	if *schema.XListType != "map" || len(schema.XListMapKeys) != 1 || schema.MaxItems == nil {
		return nil
	}
	key, name := schema.XListMapKeys[0], path[strings.LastIndex(path, ".")+1:]
	return &apiextensionsv1.ValidationRule{
		Rule: fmt.Sprintf("self.all(x, self.exists_one(y, y.%[1]s == x.%[1]s))", key),
		// A message with the key in it would cost more than a ClusterClass allows.
		Message: fmt.Sprintf("%[2]s: two entries have the same %[1]s; accepted is one entry for each %[1]s", key, name),
	}
}

func sortedKeys(properties map[string]apiextensionsv1.JSONSchemaProps) []string {
	keys := make([]string, 0, len(properties))
	for key := range properties {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
