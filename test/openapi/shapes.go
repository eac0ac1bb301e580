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

// newer are the keys that GitHub's API description has and that its webhook
// examples, some of which date from 2019, don't have yet.
func newer() map[string][]string {
	return map[string][]string{
		"repository": {"allow_forking", "has_discussions"}, "repo": {"allow_forking", "has_discussions"},
		"installation": {"app_slug", "has_multiple_single_files", "single_file_paths"},
		"issue":        {"state_reason", "timeline_url"}, "workflow_run": {"referenced_workflows"},
	}
}

// everywhere are the top-level keys that any event of an App's may have, although
// only some of the examples come from Apps.
var everywhere = []string{"installation", "organization", "repository", "sender"}

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
	common := &shape{}
	for _, e := range events {
		root := &shape{}
		for _, example := range e.Examples {
			root.learn(example)
			if top, ok := example.(map[string]any); ok {
				common.learn(top)
			}
		}
		s.events[e.Name] = root
	}
	for _, root := range s.events {
		for _, key := range everywhere {
			if root.fields != nil && root.fields[key] == nil {
				root.fields[key] = common.fields[key]
			}
		}
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
		name := where[strings.LastIndex(where, ".")+1:]
		for _, key := range slices.Sorted(maps.Keys(v)) {
			field := s.fields[key]
			if field == nil && slices.Contains(newer()[name], key) {
				continue
			}
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
