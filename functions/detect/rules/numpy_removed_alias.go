package rules

import (
	"slices"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// removedNumPy are the names that NumPy 1.24 and 2.0 took away.
var removedNumPy = words(`float int bool object str complex long unicode typeDict asscalar msort alltrue sometrue product
	cumproduct round_ float_ complex_ longcomplex clongfloat cfloat singlecomplex longfloat string_ unicode_ str0 bytes0
	object0 bool8 Inf Infinity NaN infty PINF NINF PZERO NZERO cast source lookfor who fastCopyAndTranspose
	set_numeric_ops geterrobj seterrobj set_string_function asfarray find_common_type issctype maximum_sctype obj2sctype
	sctype2char sctypes issubclass_ issubsctype mat recfromcsv recfromtxt deprecate deprecate_with_doc disp byte_bounds
	compare_chararrays DataSource add_docstring add_newdoc add_newdoc_ufunc nbytes safe_eval compat tracemalloc_domain
	row_stack trapz in1d rank int0 uint0 MachAr oldnumeric numarray`)

func numpyRemovedAlias() *Rule {
	return &Rule{
		ID: "numpy-removed-alias", Category: "numpy-removed-alias",
		Title:    "The code uses a name that NumPy removed",
		Severity: High, Remedy: domain.RemedyFix, Rank: RankFit + 5,
		FactNames: []string{"alias", "file", "line", "package"},
		Patterns: patterns(
			exc+`AttributeError: module 'numpy' has no attribute '(?P<alias>\w+)'`,
			exc+"AttributeError: `np\\.(?P<alias>\\w+)` was removed in the NumPy",
			exc+`ImportError: cannot import name '(?P<alias>\w+)' from 'numpy' `,
		),
		Keys: []string{"alias", "file"},
		Refine: func(w *Window, m *Match) bool {
			name := m.Facts["alias"]
			if !in(removedNumPy, name) {
				return false
			}
			m.Facts["alias"] = "np." + name
			frames := slices.DeleteFunc(w.traceback(), func(f frame) bool {
				_, pkg := whose(f.File)
				return pkg == "numpy" // its __getattr__ raised it
			})
			if f, ok := innermost(frames); ok {
				if o, pkg := whose(f.File); o == dependency {
					// The alias stands in a dependency's code, not in the repository's.
					m.Facts["package"] = pkg
					return true
				}
			}
			place(m, frames)
			return true
		},
	}
}
