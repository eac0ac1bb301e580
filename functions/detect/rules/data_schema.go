package rules

import (
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func dataSchema() *Rule {
	return &Rule{
		ID: "data-schema", Category: "data-schema",
		Title:    "Data does not have the expected columns or types",
		Severity: High, Remedy: domain.RemedyHuman, Rank: RankFit - 1,
		Last:      true,
		FactNames: []string{"column", "table"},
		Patterns: patterns(
			exc+`KeyError: "?(?:\['(?P<column>[^']+)'.*\] not in index|None of \[.*\] are in the \[columns\])`,
			exc+`KeyError: "\['(?P<column>[^']+)'.*\] not found in axis"`,
			exc+`pandera\.errors\.SchemaErrors?: ?(?:.*column '(?P<column>[^']+)')?`,
			exc+`pandas\.errors\.ParserError: `,
			exc+`ValueError: could not convert string to float: `,
			exc+`ValueError: Length mismatch: Expected axis has`,
			exc+`ValueError: X has \d+ features, but \w+ is expecting \d+ features as input`,
			exc+`ValueError: The feature names should match those that were passed`,
			exc+`ValueError: Input (?:X |y )?contains NaN`,
			exc+`ValueError: Usecols do not match columns(?:, columns expected but not found: \['(?P<column>[^']+)')?`,
			exc+`(?:polars\.exceptions\.)?ColumnNotFoundError: (?:unable to find column )?"?(?P<column>\w+)"?`,
			exc+`(?:pyspark\.\S*)?AnalysisException: .*\[?(?:UNRESOLVED_COLUMN|cannot resolve)\S*.*?[\x60'"](?P<column>\w+)[\x60'"]`,
			exc+`(?:datasets\.\S*)?(?:DatasetGenerationCastError|CastError): `,
			exc+`jsonschema\.exceptions\.ValidationError: `,
			exc+`ValueError: You are trying to merge on \w+ and \w+ columns`,
			exc+`pyarrow\.lib\.Arrow(?:Invalid|TypeError): .*(?:[Cc]olumn|[Ff]ield|schema)`,
			exc+`(?:\w+\.)*\w*(?:Error|Exception): .*(?i:missing (?:required )?columns?:?|columns are missing:?) ?\W*(?P<column>\w+)?`,
			exc+`ValueError: Found array with 0 (?:sample|feature)\(s\)`,
			exc+`(?:pydantic_core\._pydantic_core\.|pydantic\.error_wrappers\.|pydantic\.)?ValidationError: \d+ validation errors? for (?P<table>\w+)`,
			exc+`KeyError: '(?P<column>[^']+)'`,
		),
		Keys: []string{"column"},
		Refine: func(w *Window, m *Match) bool {
			if table := m.Facts["table"]; table != "" {
				// Settings are validated in the same way: config-missing looks at those.
				return !settingsClass.MatchString(table) && !w.InTest()
			}
			if !bareKeyError.MatchString(m.textOf(w)) {
				return true
			}
			// Any dictionary raises KeyError: only what pandas raised is a column.
			if w.caused() {
				return false // pandas raises it again, nearer to who asked for the column
			}
			for _, f := range w.traceback() {
				if o, pkg := whose(f.File); o == dependency && (pkg == "pandas" || pkg == "polars" || pkg == "datasets") {
					return true
				}
			}
			return false
		},
	}
}

var settingsClass = re(`(?i)settings|config|options$|params$`)

var bareKeyError = re(`KeyError: '[^']+'$`)
