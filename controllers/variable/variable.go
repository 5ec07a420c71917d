package variable

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/config/crd"
)

// path is where the value stands in a Cluster.
func path() *field.Path {
	return field.NewPath("spec", "topology", "variables").Key(addonsv1.ClusterVariable).Child("value")
}

// Of returns the value that a Cluster has for the variable, and whether it has one. Only the value for the whole Cluster counts: caches
// are not for one pool of Machines, so overrides mean nothing.
func Of(cluster *clusterv1.Cluster) (value apiextensionsv1.JSON, ok bool) {
	for _, v := range cluster.Spec.Topology.Variables {
		if v.Name == addonsv1.ClusterVariable {
			return v.Value, true
		}
	}
	return apiextensionsv1.JSON{}, false
}

// Schema is what a value is judged by. It may be used by many goroutines.
type Schema struct {
	structural *structuralschema.Structural
	validator  validation.SchemaValidator
	rules      *cel.Validator
}

// New compiles the schema of spec of RegistryCache.
func New() (*Schema, error) {
	spec, err := crd.RegistryCacheSpec()
	if err != nil {
		return nil, err
	}
	internal := &apiextensions.JSONSchemaProps{}
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(spec, internal, nil); err != nil {
		return nil, fmt.Errorf("converting the schema of RegistryCache: %w", err)
	}
	s := &Schema{}
	if s.structural, err = structuralschema.NewStructural(internal); err != nil {
		return nil, fmt.Errorf("reading the structural schema of RegistryCache: %w", err)
	}
	if s.validator, _, err = validation.NewSchemaValidator(internal); err != nil {
		return nil, fmt.Errorf("building the validator of RegistryCache: %w", err)
	}
	s.rules = cel.NewValidator(s.structural, false, celconfig.PerCallLimit)
	return s, nil
}

// Parse returns the spec that a value means, with the defaults of the API server, or what is wrong with the value.
func (s *Schema) Parse(ctx context.Context, value apiextensionsv1.JSON) (*addonsv1.RegistryCacheSpec, field.ErrorList) {
	content, errs := s.decode(value)
	if len(errs) > 0 {
		return nil, errs
	}
	if errs := s.unknown(content); len(errs) > 0 {
		return nil, errs
	}
	defaulting.PruneNonNullableNullsWithoutDefaults(content, s.structural)
	defaulting.Default(content, s.structural)
	if errs := s.validate(ctx, content); len(errs) > 0 {
		return nil, errs
	}
	spec, err := typed(content)
	if err != nil {
		return nil, field.ErrorList{field.Invalid(path(), "object", err.Error())}
	}
	return spec, nil
}

func (s *Schema) decode(value apiextensionsv1.JSON) (map[string]any, field.ErrorList) {
	var decoded any
	if err := utiljson.Unmarshal(value.Raw, &decoded); err != nil {
		return nil, field.ErrorList{field.Invalid(path(), "string", fmt.Sprintf("is not JSON: %v", err))}
	}
	content, ok := decoded.(map[string]any)
	if !ok {
		return nil, field.ErrorList{field.Invalid(path(), kind(decoded), "is not the spec of a RegistryCache; accepted is an object such as {caches: [{upstream: docker.io}]}")}
	}
	return content, nil
}

// kind is the name that the API server has for the type of a decoded value, which is all that is told of it.
func kind(decoded any) string {
	switch decoded.(type) {
	case nil:
		return "null"
	case []any:
		return "array"
	case string:
		return "string"
	case bool:
		return "boolean"
	default:
		return "number"
	}
}

// unknown prunes content and returns an error for each field that the schema does not have.
func (s *Schema) unknown(content map[string]any) field.ErrorList {
	var errs field.ErrorList
	options := structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}
	for _, unknown := range pruning.PruneWithOptions(content, s.structural, false, options) {
		errs = append(errs, field.Invalid(field.NewPath(path().String()+"."+unknown), "unknown field", s.acceptedAt(unknown)))
	}
	return errs
}

func (s *Schema) validate(ctx context.Context, content map[string]any) field.ErrorList {
	errs := validation.ValidateCustomResource(path(), content, s.validator)
	errs = append(errs, listtype.ValidateListSetsAndMaps(path(), s.structural, content)...)
	if slices.ContainsFunc(errs, misshapen) {
		return errs
	}
	broken, _ := s.rules.Validate(ctx, path(), s.structural, content, nil, celconfig.RuntimeCELCostBudget)
	return append(errs, broken...)
}

// misshapen says whether rules cannot be asked, as they presuppose that every value is what its field takes. The API server draws the
// line here: https://github.com/kubernetes/apiextensions-apiserver/blob/v0.36.3/pkg/registry/customresource/strategy.go, hasBlockingErr.
func misshapen(err *field.Error) bool {
	switch err.Type {
	case field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong, field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid:
		return true
	default:
		return false
	}
}

func typed(content map[string]any) (*addonsv1.RegistryCacheSpec, error) {
	raw, err := json.Marshal(content)
	if err != nil {
		return nil, err
	}
	spec := &addonsv1.RegistryCacheSpec{}
	return spec, json.Unmarshal(raw, spec)
}
