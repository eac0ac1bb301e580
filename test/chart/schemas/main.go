// Command schemas writes JSON Schemas for kubeconform: of Kubernetes' kinds from its
// own OpenAPI description, of Knative's from its CustomResourceDefinitions. Both
// come out of Go modules, so that no site has to be asked.
//
//	go run ./test/chart/schemas FOLDER
//
// writes FOLDER/GROUP/KIND_VERSION.json. Unknown fields are refused.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// kubernetes is the version that the chart is held to; only its description is read.
const kubernetes = "k8s.io/kubernetes@v1.34.4"

// groups are those of Kubernetes that the chart uses.
var groups = []string{"", "apps", "batch", "networking.k8s.io"}

// definitions are Knative's, by module and folder in it.
var definitions = map[string]string{
	"knative.dev/serving":    "config/core/300-resources",
	"knative.dev/eventing":   "config/core/resources",
	"knative.dev/networking": "config",
}

func main() {
	ctx, stop := context.WithTimeout(context.Background(), 5*time.Minute)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "schemas:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) != 1 {
		return errors.New("usage: schemas FOLDER")
	}
	w := writer{folder: args[0]}
	if err := w.kubernetes(ctx); err != nil {
		return fmt.Errorf("make Kubernetes' schemas: %w", err)
	}
	for module, folder := range definitions {
		if err := w.knative(ctx, module, folder); err != nil {
			return fmt.Errorf("make the schemas of %s: %w", module, err)
		}
	}
	_, err := fmt.Fprintf(out, "%d schemas in %s\n", w.n, w.folder)
	return err
}

type writer struct {
	folder string
	n      int
}

func (w *writer) write(group, kind, version string, schema map[string]any) error {
	b, err := json.Marshal(schema)
	if err != nil {
		return err
	}
	if group == "" {
		group = version // kubeconform takes what stands before the slash of "v1"
	}
	path := filepath.Join(w.folder, group, strings.ToLower(kind)+"_"+version+".json")
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	w.n++
	return os.WriteFile(path, b, 0o600)
}

// kubernetes writes each kind with the definitions that it needs.
func (w *writer) kubernetes(ctx context.Context) error {
	// Outside of this module, whose go.mod has nothing to do with it.
	download := exec.CommandContext(ctx, "go", "mod", "download", "-json", kubernetes)
	download.Dir = os.TempDir()
	var stderr bytes.Buffer
	download.Stderr = &stderr
	b, err := download.Output()
	if err != nil {
		return fmt.Errorf("download %s: %w: %s%s", kubernetes, err, b, stderr.Bytes())
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(b, &module); err != nil {
		return err
	}
	if b, err = os.ReadFile(filepath.Join(module.Dir, "api/openapi-spec/swagger.json")); err != nil {
		return err
	}
	var api struct {
		Definitions map[string]map[string]any `json:"definitions"`
	}
	if err := json.Unmarshal(b, &api); err != nil {
		return err
	}
	type gvk struct{ Group, Version, Kind string }
	kinds := map[string][]gvk{}
	for name, d := range api.Definitions {
		if marks, ok := d["x-kubernetes-group-version-kind"]; ok {
			b, err := json.Marshal(marks)
			if err != nil {
				return err
			}
			var of []gvk
			if err := json.Unmarshal(b, &of); err != nil {
				return err
			}
			kinds[name] = of
		}
		api.Definitions[name] = strict(d)
		if strings.HasSuffix(name, ".resource.Quantity") { // a string there, though a number is taken too
			api.Definitions[name] = map[string]any{"type": []string{"number", "string"}}
		}
	}
	for name, of := range kinds {
		for _, k := range of {
			if !slices.Contains(groups, k.Group) || len(of) > 1 { // several: the options of API calls
				continue
			}
			used := map[string]any{}
			collect(api.Definitions[name], api.Definitions, used)
			whole := map[string]any{"definitions": used}
			for key, v := range api.Definitions[name] {
				whole[key] = v
			}
			if err := w.write(k.Group, k.Kind, k.Version, whole); err != nil {
				return err
			}
		}
	}
	return nil
}

// collect gathers the definitions that a schema refers to.
func collect(schema any, all map[string]map[string]any, used map[string]any) {
	switch x := schema.(type) {
	case map[string]any:
		if ref, ok := x["$ref"].(string); ok {
			name := strings.TrimPrefix(ref, "#/definitions/")
			if _, seen := used[name]; !seen {
				used[name] = all[name]
				collect(all[name], all, used)
			}
		}
		for _, v := range x {
			collect(v, all, used)
		}
	case []any:
		for _, v := range x {
			collect(v, all, used)
		}
	}
}

// knative writes the kinds of a module's CustomResourceDefinitions.
func (w *writer) knative(ctx context.Context, module, folder string) error {
	dir, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module).Output() // #nosec G204 -- of the table above
	if err != nil {
		return fmt.Errorf("find the module: %w", err)
	}
	paths, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), folder, "*.yaml"))
	if err != nil {
		return err
	}
	if len(paths) == 0 {
		return fmt.Errorf("no definitions in %s of %s", folder, bytes.TrimSpace(dir))
	}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		documents := yaml.NewDecoder(bytes.NewReader(b))
		for {
			var crd struct {
				Kind string `yaml:"kind"`
				Spec struct {
					Group string `yaml:"group"`
					Names struct {
						Kind string `yaml:"kind"`
					} `yaml:"names"`
					Versions []struct {
						Name   string `yaml:"name"`
						Schema struct {
							OpenAPI map[string]any `yaml:"openAPIV3Schema"`
						} `yaml:"schema"`
					} `yaml:"versions"`
				} `yaml:"spec"`
			}
			if err := documents.Decode(&crd); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return fmt.Errorf("read %s: %w", path, err)
			}
			if crd.Kind != "CustomResourceDefinition" {
				continue
			}
			for _, v := range crd.Spec.Versions {
				schema := v.Schema.OpenAPI
				properties, ok := schema["properties"].(map[string]any)
				if !ok {
					continue // says nothing of its fields
				}
				// The API server's own, which a definition may leave out.
				for _, name := range []string{"apiVersion", "kind"} {
					properties[name] = map[string]any{"type": "string"}
				}
				properties["metadata"] = map[string]any{"type": "object"}
				if err := w.write(crd.Spec.Group, crd.Spec.Names.Kind, v.Name, strict(schema)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// strict makes a JSON Schema of Kubernetes' dialect: no texts, no extensions, and no
// fields but those that are named.
func strict(schema map[string]any) map[string]any {
	if schema["x-kubernetes-int-or-string"] == true || schema["format"] == "int-or-string" {
		return map[string]any{"type": []string{"integer", "string"}}
	}
	out := map[string]any{}
	for key, v := range schema {
		switch key {
		case "description", "default", "example", "nullable", "format":
		case "properties":
			properties := map[string]any{}
			if named, ok := v.(map[string]any); ok {
				for name, p := range named {
					if p, ok := p.(map[string]any); ok {
						properties[name] = strict(p)
					}
				}
			}
			out[key] = properties
		case "items", "additionalProperties", "not":
			if one, ok := v.(map[string]any); ok {
				v = strict(one)
			}
			out[key] = v
		case "allOf", "anyOf", "oneOf":
			var list []any
			if several, ok := v.([]any); ok {
				for _, one := range several {
					if one, ok := one.(map[string]any); ok {
						list = append(list, loosened(strict(one)))
					}
				}
			}
			out[key] = list
		default:
			if !strings.HasPrefix(key, "x-") {
				out[key] = v
			}
		}
	}
	_, named := out["properties"]
	_, others := out["additionalProperties"]
	if named && !others && schema["x-kubernetes-preserve-unknown-fields"] != true {
		out["additionalProperties"] = false
	}
	if schema["nullable"] == true {
		if t, ok := out["type"].(string); ok {
			out["type"] = []string{t, "null"}
		}
	}
	return out
}

// loosened lets an alternative be silent about the fields that stand beside it.
func loosened(schema map[string]any) map[string]any {
	delete(schema, "additionalProperties")
	return schema
}
