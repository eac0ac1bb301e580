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
		Severity: High, Remedy: domain.RemedyHuman, Rank: RankFit - 2,
		Last:      true,
		FactNames: []string{"path"},
		Patterns: patterns(
			exc+`FileNotFoundError: (?:\[Errno 2\] )?(?:No such file or directory: |.*?[:\s])['"]?(?P<path>[^'"\s]+)['"]?`,
			`\(NoSuchKey\)|\bNoSuchKey: |The specified key does not exist`,
			`\(NoSuchBucket\)|\bNoSuchBucket: `,
			`An error occurred \(404\) when calling the HeadObject operation`,
			`storage\.googleapis\.com/.*The specified bucket does not exist`,
			`ERROR: failed to pull data from the cloud`,
			`No such object: (?P<path>\S+)`,
			`CommandException: No URLs matched: (?P<path>\S+)`,
			`ErrorCode:(?:BlobNotFound|ContainerNotFound)|The specified (?:blob|container) does not exist`,
			`^ERROR: failed to reproduce '[^']*': missing data 'source': (?P<path>\S+)`,
			exc+`(?:huggingface_hub\.\S*)?EntryNotFoundError: `,
			`ERROR: \(gcloud\.storage\.\w+\) The following URLs matched no objects or files:`,
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
