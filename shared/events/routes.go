package events

import (
	_ "embed"
	"fmt"
	"slices"
	"sync"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"go.yaml.in/yaml/v3"
)

//go:embed routes.yaml
var routesYAML []byte

// Functions are the four functions that a route may name.
var Functions = []string{"webhook", "detect", "repair", "notify"}

// Route says who consumes events of a type.
type Route struct {
	Type      string            `yaml:"type"`
	When      map[string]string `yaml:"when"` // attributes or extensions that must be equal
	Consumers []string          `yaml:"consumers"`
}

// Routes returns the embedded routes in the order of the file.
var Routes = sync.OnceValue(func() []Route {
	routes, err := parseRoutes(routesYAML)
	if err != nil {
		// The file is embedded and a test parses it: this can't be reached in a
		// binary that passed its tests. No routes means nothing is delivered or lost.
		return nil
	}
	return routes
})

func parseRoutes(b []byte) ([]Route, error) {
	var file struct {
		Routes []Route `yaml:"routes"`
	}
	if err := yaml.Unmarshal(b, &file); err != nil {
		return nil, fmt.Errorf("parse the routes: %w", err)
	}
	for _, r := range file.Routes {
		if r.Type == "" || len(r.Consumers) == 0 {
			return nil, fmt.Errorf("parse the routes: %+v lacks a type or consumers", r)
		}
		for _, c := range r.Consumers {
			if !slices.Contains(Functions, c) {
				return nil, fmt.Errorf("parse the routes: %s names the unknown consumer %q", r.Type, c)
			}
		}
	}
	return file.Routes, nil
}

// Consumers lists the functions that consume the event, sorted.
func Consumers(e cloudevents.Event) []string {
	var out []string
	for _, r := range Routes() {
		if r.Type == e.Type() && r.matches(e) {
			out = append(out, r.Consumers...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (r Route) matches(e cloudevents.Event) bool {
	for k, want := range r.When {
		var got any
		switch k {
		case "source":
			got = e.Source()
		case "subject":
			got = e.Subject()
		default:
			got = e.Extensions()[k]
		}
		if fmt.Sprint(got) != want {
			return false
		}
	}
	return true
}
