package rules

import (
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func cudaOOM() *Rule {
	return &Rule{
		ID: "cuda-oom", Category: "cuda-oom",
		Title:    "GPU memory ran out",
		Severity: High, Remedy: domain.RemedyFix, Rank: RankResource + 2,
		FactNames: []string{"asked_bytes", "free_bytes", "total_bytes"},
		Patterns: patterns(
			`(?:RuntimeError|OutOfMemoryError|AcceleratorError)[:*]* ?.{0,40}(?:CUDA|HIP|XPU|MPS backend)(?: error:)? out of memory\.?\*{0,2}(?: Tried to allocate (?P<asked_bytes>[\d.]+ [KMGT]?i?B))?`,
			`CUDA out of memory\.\*{0,2} Tried to allocate (?P<asked_bytes>[\d.]+ [KMGT]?i?B)`,
			exc+`(?:\w+\.)*(?:OutOfMemoryError|OutOfMemory): Out of memory allocating (?P<asked_bytes>[\d,]+) bytes`,
			`(?:RuntimeError|AcceleratorError): .*(?:CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED|cudaErrorMemoryAllocation)`,
			`OOM when allocating tensor with shape.* on \S*(?i:GPU):\d`,
			`RESOURCE_EXHAUSTED: (?:XLA:\S+ )?Out of memory (?:while trying to allocate|allocating) (?P<asked_bytes>\d+) bytes`,
			`cudaErrorMemoryAllocation:? out of memory`,
			`CUDA_ERROR_OUT_OF_MEMORY: out of memory`,
			exc+`ValueError: No available memory for the cache blocks\.`,
		),
		Keys: []string{domain.KeyPlace},
		Refine: func(w *Window, m *Match) bool {
			sizeFact(m, "asked_bytes")
			// TensorFlow's kernels report before the exception says where.
			m.Weak = strings.Contains(m.textOf(w), "OP_REQUIRES failed") || w.answered()
			// torch's sentence may be wrapped over the next lines.
			for i := 0; i <= 2; i++ {
				t, ok := w.Text(i)
				if !ok {
					break
				}
				if s := gpuFree.FindStringSubmatch(t); s != nil && m.Facts["free_bytes"] == "" {
					m.Facts["free_bytes"] = s[1]
					sizeFact(m, "free_bytes")
				}
				if s := gpuTotal.FindStringSubmatch(t); s != nil && m.Facts["total_bytes"] == "" {
					m.Facts["total_bytes"] = s[1] + s[2]
					sizeFact(m, "total_bytes")
				}
			}
			return true
		},
	}
}

var (
	gpuFree  = re(`([\d.]+ [KMGT]?i?B)(?: is)? free\b`)
	gpuTotal = re(`([\d.]+ [KMGT]?i?B) total capacity|total capacity of ([\d.]+ [KMGT]?i?B)`)
)
