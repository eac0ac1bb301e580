package rules

import (
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

var (
	dataFile   = re(`(?i)(?:\.(?:csv|tsv|parquet|feather|arrow|npy|npz|pkl|pickle|joblib|h5|hdf5|mat|pt|pth|ckpt|onnx|safetensors|bin|jpe?g|png|tiff?|bmp|wav|mp3|flac|jsonl|ndjson|zip|tar|gz|tgz|fits|root|nc|zarr|tfrecords?|avro|orc|xlsx?|sqlite3?|db|lmdb)$|(?:^|/)(?:data|datasets?|raw|checkpoints?|weights|artifacts|models?)/)`)
	configFile = re(`(?i)(?:\.(?:ya?ml|toml|ini|cfg|conf|env|properties|keystore|jks|pem)$|(?:^|/)(?:config|conf|configs|settings)[^/]*\.json$|(?:^|/)(?:config|configs|conf)/|(?:^|/)\.env)`)
)

func dataMissing() *Rule {
	return &Rule{
		ID: "data-missing", Category: "data-missing",
		Title:    "A data file is not there",
		Severity: High, Remedy: domain.RemedyHuman, Rank: RankFit - 2, Confidence: 0.9,
		Last: true,
		Patterns: patterns(
			exc+`FileNotFoundError: (?:\[Errno 2\] )?(?:No such file or directory: |.*?[:\s])['"]?(?P<path>[^'"\s]+)['"]?`,
			`\(NoSuchKey\)|\bNoSuchKey: |The specified key does not exist`,
			`\(NoSuchBucket\)|\bNoSuchBucket: `,
			`ERROR: failed to pull data from the cloud`,
			`No such object: (?P<path>\S+)`,
			`ERROR: unexpected error - .*missing-files`,
		),
		Keys: []string{"path"},
		Refine: func(w *Window, m *Match) bool {
			if strings.Contains(m.textOf(w), "FileNotFoundError") {
				p := m.Facts["path"]
				if !dataFile.MatchString(p) || configFile.MatchString(p) {
					return false
				}
				m.Facts["path"] = relative(p)
				m.Weak = w.handled()
			}
			return true
		},
	}
}

func configMissing() *Rule {
	return &Rule{
		ID: "config-missing", Category: "config-missing",
		Title:    "A configuration is not there",
		Severity: High, Remedy: domain.RemedyHuman, Rank: RankFit - 2, Confidence: 0.88,
		Last: true,
		Patterns: patterns(
			exc+`FileNotFoundError: (?:\[Errno 2\] )?(?:No such file or directory: |.*?[:\s])['"]?(?P<file>[^'"\s]+)['"]?`,
			`(?:Keystore|Key store) file '(?P<file>[^']+)' not found for signing`,
			`MissingConfigException: (?:Cannot find primary config '(?P<file>[^']+)'|In '(?P<file>[^']+)')`,
			exc+`omegaconf\.errors\.(?:MissingMandatoryValue|ConfigAttributeError|ConfigKeyError): (?:.*?: |Key ')(?P<key>[\w.]+)`,
			exc+`(?:decouple\.)?UndefinedValueError: (?P<key>\w+) not found`,
			exc+`(?:django\.core\.exceptions\.)?ImproperlyConfigured: .*?(?P<key>[A-Z][A-Z_0-9]+)`,
			exc+`KeyError: '(?P<key>[A-Z][A-Z0-9]*_[A-Z0-9_]+)'`,
			`^(?i:error|fatal)\b.*[Cc]onfig(?:uration)? file (?:not found|does not exist):? ?(?P<file>\S*)`,
		),
		Keys: []string{"key", "file"},
		Refine: func(w *Window, m *Match) bool {
			t := m.textOf(w)
			if strings.Contains(t, "FileNotFoundError") && !configFile.MatchString(m.Facts["file"]) {
				return false
			}
			if strings.Contains(t, "KeyError") {
				if credential.MatchString(m.Facts["key"]) {
					return false
				}
				f, ok := innermost(w.traceback())
				return ok && strings.HasSuffix(strings.ReplaceAll(f.File, `\`, "/"), "os.py") || strings.Contains(f.Source, "environ")
			}
			if m.Facts["file"] != "" {
				m.Facts["file"] = relative(m.Facts["file"])
			}
			m.Weak = w.handled()
			return true
		},
	}
}

var credential = re(`^` + credentialName + `$`)

func dataDownloadFailed() *Rule {
	return &Rule{
		ID: "data-download-failed", Category: "data-download-failed",
		Title:    "A data set's download or its checksum failed",
		Severity: Medium, Remedy: domain.RemedyRetry, Rank: RankFit + 1, Confidence: 0.92,
		Patterns: patterns(
			`(?:NonMatchingChecksumError|ExpectedMoreDownloadedFiles\w*): ?(?P<url>https?://\S+)?`,
			exc+`RuntimeError: (?:Dataset|File) not found or corrupted`,
			`(?:SHA256|MD5|SHA1|[Hh]ash) hash of downloaded file .* does not match the known hash`,
			`^.{0,40}(?i:error|failed).{0,40}[Dd]ataset download failed`,
			exc+`zipfile\.BadZipFile: File is not a zip file`,
		),
		Keys: []string{"url"},
	}
}

func dataSchema() *Rule {
	return &Rule{
		ID: "data-schema", Category: "data-schema",
		Title:    "Data does not have the expected columns or types",
		Severity: High, Remedy: domain.RemedyHuman, Rank: RankFit - 1, Confidence: 0.88,
		Last: true,
		Patterns: patterns(
			exc+`KeyError: "?(?:\['(?P<column>[^']+)'.*\] not in index|None of \[.*\] are in the \[columns\])`,
			exc+`pandera\.errors\.SchemaErrors?: ?(?:.*column '(?P<column>[^']+)')?`,
			exc+`pandas\.errors\.ParserError: `,
			exc+`ValueError: could not convert string to float: '?(?P<column>)`,
			exc+`ValueError: Length mismatch: Expected axis has`,
			exc+`ValueError: X has \d+ features, but \w+ is expecting \d+ features as input`,
			exc+`ValueError: The feature names should match those that were passed`,
			exc+`ValueError: Input (?:X |y )?contains NaN`,
			exc+`ValueError: Usecols do not match columns`,
			exc+`(?:\w+\.)*\w*(?:Error|Exception): .*(?i:missing (?:required )?columns?:?|columns are missing:?) ?\W*(?P<column>\w+)?`,
			exc+`KeyError: '(?P<column>[^']+)'`,
		),
		Keys: []string{"column"},
		Refine: func(w *Window, m *Match) bool {
			if !bareKeyError.MatchString(m.textOf(w)) {
				return true
			}
			// Any dictionary raises KeyError: only what pandas raised is a column.
			for _, f := range w.traceback() {
				if o, pkg := whose(f.File); o == dependency && (pkg == "pandas" || pkg == "polars" || pkg == "datasets") {
					return true
				}
			}
			return false
		},
	}
}

var bareKeyError = re(`KeyError: '[^']+'$`)

func databaseSchema() *Rule {
	return &Rule{
		ID: "database-schema", Category: "database-schema",
		Title:    "A table or migration is missing",
		Severity: High, Remedy: domain.RemedyHuman, Rank: RankFit - 1, Confidence: 0.92,
		Last: true,
		Patterns: patterns(
			exc+`(?:[\w.()]+ )*(?:[\w.]*(?:Error|UndefinedTable\)?|UndefinedTableError)):? .*relation "(?P<table>[^"]+)" does not exist`,
			exc+`(?:[\w.]*(?:Error|Exception)):? .*no such table: (?P<table>[\w.]+)`,
			`Table '(?P<table>[^']+)' doesn't exist`,
			exc+`(?:[\w.]*Error):? .*no such column: (?P<table>[\w.]+)`,
			`Can't locate revision identified by '(?P<table>\w+)'`,
			`Target database is not up to date`,
		),
		Keys: []string{"table"},
	}
}

func experimentTracker() *Rule {
	return &Rule{
		ID: "experiment-tracker-unreachable", Category: "experiment-tracker-unreachable",
		Title:    "The experiment tracker can't be reached",
		Severity: Medium, Remedy: domain.RemedyRetry, Rank: RankSetup - 3, Confidence: 0.93,
		Last: true,
		Patterns: patterns(
			exc+`mlflow\.exceptions\.MlflowException: API request to (?P<url>http\S+) failed`,
			exc+`mlflow\.exceptions\.\w+: .*(?:timed out|[Mm]ax retries|[Cc]onnection|50[234])`,
			`wandb: ERROR Error while calling W&B API.*(?:timed out|50\d|connection)`,
			exc+`wandb\.(?:errors\.|sdk\.\S*\.)?CommError: `,
			exc+`(?:\S+\.)?NeptuneConnectionLostException`,
			`/api/2\.0/mlflow\S* .*(?:Max retries exceeded|timed out|Connection refused|too many 50\d)`,
			`with url: /api/2\.0/mlflow`,
		),
		Keys: []string{"service"},
		Refine: func(w *Window, m *Match) bool {
			delete(m.Facts, "url")
			low := strings.ToLower(m.textOf(w))
			for _, s := range [...]string{"mlflow", "wandb", "neptune"} {
				if strings.Contains(low, s) {
					m.Facts["service"] = s
				}
			}
			return true
		},
	}
}

func notebookFailed() *Rule {
	return &Rule{
		ID: "notebook-failed", Category: "notebook-failed",
		Title:    "A notebook stopped at a cell",
		Severity: Medium, Remedy: domain.RemedyHuman, Rank: RankTest + 3, Confidence: 0.9,
		Patterns: patterns(
			`Exception encountered at "In \[(?P<cell>\d+)\]"`,
			exc+`(?:papermill\.exceptions\.)?PapermillExecutionError`,
			exc+`(?:nbclient\.exceptions\.|nbconvert\.\S*)?CellExecutionError: `,
		),
		Keys: []string{"exception"},
		Refine: func(w *Window, m *Match) bool {
			for i := after; i > 0; i-- {
				if t, ok := w.Text(i); ok {
					if s := anyException.FindStringSubmatch(t); s != nil && !strings.Contains(s[1], "Papermill") && !strings.Contains(s[1], "CellExecution") {
						m.Facts["exception"] = s[1]
						break
					}
				}
			}
			return true
		},
	}
}

var anyException = re(`^([A-Za-z_][\w.]*(?:Error|Exception)): `)
