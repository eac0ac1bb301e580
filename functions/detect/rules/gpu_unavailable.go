package rules

import (
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func gpuUnavailable() *Rule {
	return &Rule{
		ID: "gpu-unavailable", Category: "gpu-unavailable",
		Title:    "The job expects a GPU and the runner has none",
		Severity: High, Remedy: domain.RemedyHuman, Rank: RankResource - 2,
		Patterns: patterns(
			exc+`(?:\w+\.)*\w*Error: (?:Found no NVIDIA driver on your system|No CUDA GPUs are available|Attempting to deserialize object on a CUDA device but torch\.cuda\.is_available\(\) is False)`,
			exc+`AssertionError: Torch not compiled with CUDA enabled`,
			`could not select device driver "[^"]*" with capabilities: \[\[gpu\]\]`,
			`MisconfigurationException: No supported gpu backend found`,
			`: line \d+: nvidia-smi: command not found`,
			exc+`(?:ImportError|OSError): libcuda\.so\.1: cannot open shared object file`,
			`NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver`,
			`nvidia-container-cli: initialization error: (?:nvml error: )?driver not loaded`,
			exc+`(?:\w+\.)*\w*Error: .*no CUDA-capable device is detected`,
			exc+`(?:\w+\.)*\w*(?:Error|Exception): .*\b(?:CUDA|GPU|cuda|gpu)s? (?:is|are) (?:required\b.*\bnot|not) available\b`,
			exc+`(?:\w+\.)*\w*(?:Error|Exception): .*(?:Unable to initialize backend '(?:cuda|gpu|rocm|tpu)'|No visible GPU devices|No HIP GPUs are available|0 active drivers \(\[\]\)|Failed to infer device type|cudaErrorNoDevice|doesn't support bf16/gpu|[Nn]o OpenCL device found|[Nn]o GPUs? (?:was |were )?(?:found|detected|available))`,
		),
		Refine: func(w *Window, m *Match) bool {
			// Scripts ask for it to find out.
			m.Weak = strings.HasSuffix(m.textOf(w), "nvidia-smi: command not found")
			return true
		},
	}
}
