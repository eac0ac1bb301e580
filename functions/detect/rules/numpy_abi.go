package rules

import "github.com/mlops-bot/mlops-bot/shared/domain"

func numpyABI() *Rule {
	return &Rule{
		ID: "numpy-abi", Category: "numpy-abi",
		Title:    "A compiled package was built against another NumPy",
		Severity: High, Remedy: domain.RemedyFix, Rank: RankFit + 6,
		FactNames: []string{"package"},
		Patterns: patterns(
			exc+`ValueError: numpy\.\w+ size changed, may indicate binary incompatibility`,
			`A module that was compiled using NumPy 1\.x cannot be run in`,
			`AttributeError: _ARRAY_API not found`,
			exc+`(?:RuntimeError|ImportError): (?:module compiled against A[PB]I version|numpy\.core\.multiarray failed to import)`,
			exc+`RuntimeError: Numpy is not available`,
			`Failed to initialize NumPy: _ARRAY_API not found`,
		),
		Keys: []string{"package"},
		Refine: func(w *Window, m *Match) bool {
			if pkg, ok := packageOf(w.traceback()); ok && pkg != "numpy" {
				m.Facts["package"] = pkg
			} else if t, _ := w.Text(0); torchSource.MatchString(t) {
				m.Facts["package"] = "torch"
			} else {
				// The notice comes before its traceback.
				for i := 1; i <= after && m.Facts["package"] == ""; i++ {
					t, ok := w.Text(i)
					if !ok {
						break
					}
					if f := plainFrame.FindStringSubmatch(t); f != nil {
						if o, pkg := whose(f[1]); o == dependency && pkg != "numpy" {
							m.Facts["package"] = pkg
						}
					}
				}
			}
			t, _ := w.Text(0)
			m.Weak = userWarning.MatchString(t)
			return true
		},
	}
}

var (
	torchSource = re(`torch/csrc/`)
	userWarning = re(`\bUserWarning\b`)
)
