package rules

import (
	"embed"
	"fmt"
	"strings"

	"github.com/rogpeppe/go-internal/txtar"
)

//go:embed testdata/*.txtar
var fixtures embed.FS

// Example is a log that shows what a rule matches, or what it doesn't.
type Example struct {
	Name    string
	Matches bool
	Log     string
}

// Examples returns the logs that a built-in rule is tested with, those that it
// matches first. The error is for ids that are no built-in rule's.
func Examples(id string) ([]Example, error) {
	b, err := fixtures.ReadFile("testdata/" + strings.ReplaceAll(id, "-", "_") + ".txtar")
	if err != nil {
		return nil, fmt.Errorf("read the examples of %s: %w", id, err)
	}
	var matching, others []Example
	for _, f := range txtar.Parse(b).Files {
		switch kind, name, _ := strings.Cut(f.Name, "/"); kind {
		case "match":
			matching = append(matching, Example{name, true, string(f.Data)})
		case "nomatch":
			others = append(others, Example{name, false, string(f.Data)})
		}
	}
	return append(matching, others...), nil
}
