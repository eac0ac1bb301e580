package rules

import (
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func cudaDriverMismatch() *Rule {
	return &Rule{
		ID: "cuda-driver-mismatch", Category: "cuda-driver-mismatch",
		Title:    "The GPU's driver and libraries do not fit",
		Severity: High, Remedy: domain.RemedyHuman, Rank: RankResource,
		FactNames: []string{"driver", "runtime"},
		Patterns: patterns(
			exc+`(?:[\w.]+: )*(?:[\w ,().]+: )?CUDA driver version is insufficient for CUDA runtime version`,
			exc+`(?:\w+\.)*\w*Error: The NVIDIA driver on your system is too old \(found version (?P<driver>\d+)\)`,
			exc+`(?:\w+\.)*\w*Error: .*(?:CUDNN_STATUS_NOT_INITIALIZED|CUBLAS_STATUS_NOT_INITIALIZED)`,
			`the provided PTX was compiled with an unsupported toolchain`,
			`Loaded runtime CuDNN library: (?P<runtime>[\d.]+) but source was compiled with: [\d.]+`,
			exc+`(?:\w+\.)*\w*Error: cuDNN version incompatibility(?:.*found runtime version \((?P<runtime>[\d, ]+)\))?`,
			exc+`(?:ImportError|OSError): (?P<runtime>lib(?:cudnn|cublas|cudart|cusparse|nccl|nvrtc)[\w.-]*): cannot open shared object file`,
			`Driver/library version mismatch`,
			`nvidia-container-cli: requirement error: unsatisfied condition: cuda ?>= ?(?P<runtime>[\d.]+)`,
		),
		Keys: []string{"runtime"},
	}
}
