package rules

import (
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func checkpointMismatch() *Rule {
	return &Rule{
		ID: "checkpoint-mismatch", Category: "checkpoint-mismatch",
		Title:    "A checkpoint does not fit the model",
		Severity: High, Remedy: domain.RemedyHuman, Rank: RankFit + 2,
		FactNames: []string{"key"},
		Patterns: patterns(
			`Error\(s\) in loading state_dict for (?P<key>\w+)`,
			`^\s*size mismatch for (?P<key>[\w.]+): copying a param`,
			`^\s*(?:Missing|Unexpected) key\(s\) in state_dict: "(?P<key>[\w.]+)"`,
			`You are trying to load a weight file containing \d+ layers`,
			`Layer count mismatch when loading weights`,
			`Weight count mismatch for layer #\d+ \(named (?P<key>\w+) in the current model`,
			exc+`ValueError: A total of \d+ objects could not be loaded\.`,
			`UnpicklingError: Weights only load failed`,
			exc+`Exception: data did not match any variant of untagged enum \w+`,
			exc+`ValueError: loaded state dict (?:contains a parameter group that doesn't match|has a different number of parameter groups)`,
			exc+`ValueError: Layer ['"]?(?P<key>[\w./]+)['"]? expect(?:s|ed) \d+ variables, but received \d+ variables during loading`,
			exc+`ValueError: Trying to set a tensor of shape \S+.* in "(?P<key>[\w.]+)" \(which has shape`,
			exc+`ValueError: Cannot load \S+ because (?P<key>\S+) expected shape`,
			exc+`OSError: Unable to load weights from (?:pytorch )?checkpoint file`,
		),
		Keys: []string{"key"},
		Refine: func(w *Window, m *Match) bool {
			// The model's class comes first; the key that doesn't fit tells more.
			for i := 0; i <= 3; i++ {
				t, ok := w.Text(i)
				if !ok {
					break
				}
				if key := first(stateKey, t); key != "" {
					m.Facts["key"] = key
					break
				}
			}
			return true
		},
	}
}

var stateKey = re(`size mismatch for ([\w.]+):|key\(s\) in state_dict: "([\w.]+)"`)
