package openapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Shapes are the shapes that GitHub's example webhook payloads have: which keys
// there are, and which JSON types each had in some example of its event.
type Shapes struct {
	events map[string]*shape
}

// shape is what a place in a payload held in the examples.
type shape struct {
	kinds  map[string]bool // null, bool, number, string, list, object
	fields map[string]*shape
	items  *shape
}

// LoadShapes reads GitHub's example payloads from the folder that holds this
// package's node_modules.
func LoadShapes(folder string) (*Shapes, error) {
	file := filepath.Join(folder, "node_modules", "@octokit", "webhooks-examples", "api.github.com", "index.json")
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, loadErr(file, err)
	}
	var events []struct {
		Name     string `json:"name"`
		Examples []any  `json:"examples"`
	}
	if err := json.Unmarshal(data, &events); err != nil {
		return nil, fmt.Errorf("parse %s: %w", file, err)
	}
	s := &Shapes{events: map[string]*shape{}}
	for _, e := range events {
		root := &shape{}
		for _, example := range e.Examples {
			root.learn(example)
		}
		s.events[e.Name] = root
	}
	return s, nil
}

func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "bool"
	case float64:
		return "number"
	case string:
		return "string"
	case []any:
		return "list"
	}
	return "object"
}

func (s *shape) learn(v any) {
	if s.kinds == nil {
		s.kinds = map[string]bool{}
	}
	s.kinds[kindOf(v)] = true
	switch v := v.(type) {
	case map[string]any:
		if s.fields == nil {
			s.fields = map[string]*shape{}
		}
		for key, value := range v {
			if s.fields[key] == nil {
				s.fields[key] = &shape{}
			}
			s.fields[key].learn(value)
		}
	case []any:
		if s.items == nil {
			s.items = &shape{}
		}
		for _, value := range v {
			s.items.learn(value)
		}
	}
}

// Check returns how a payload of an event differs from the shapes of GitHub's
// examples: a key that none of them has, or a type that it never had there. It is
// silent about what the examples say nothing of: objects that are null in all of
// them, and the insides of maps whose keys are data (permissions).
func (s *Shapes) Check(event string, payload []byte) []string {
	root := s.events[event]
	if root == nil {
		return []string{event + ": GitHub has no such event"}
	}
	var v any
	if err := json.Unmarshal(payload, &v); err != nil {
		return []string{event + ": the payload is no JSON"}
	}
	return root.check(event, v)
}

func (s *shape) check(where string, v any) []string {
	kind := kindOf(v)
	onlyNull := len(s.kinds) == 1 && s.kinds["null"]
	// The examples were taken at one moment: what is null in all of them has a
	// value at another, and the other way round.
	if !s.kinds[kind] && len(s.kinds) > 0 && !onlyNull && kind != "null" {
		return []string{fmt.Sprintf("%s is a %s, GitHub's is a %s", where, kind, strings.Join(slices.Sorted(maps.Keys(s.kinds)), " or a "))}
	}
	var out []string
	switch v := v.(type) {
	case map[string]any:
		if s.fields == nil || strings.HasSuffix(where, ".permissions") {
			return nil
		}
		for _, key := range slices.Sorted(maps.Keys(v)) {
			field := s.fields[key]
			if field == nil {
				out = append(out, where+" has "+key+", GitHub's has not")
				continue
			}
			out = append(out, field.check(where+"."+key, v[key])...)
		}
	case []any:
		if s.items == nil || s.items.kinds == nil {
			return nil
		}
		for i, value := range v {
			out = append(out, s.items.check(fmt.Sprintf("%s[%d]", where, i), value)...)
		}
	}
	return out
}

// Keys returns the keys that all examples of an event have at their top level.
func (s *Shapes) Keys(event string) []string {
	root := s.events[event]
	if root == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(root.fields))
}
