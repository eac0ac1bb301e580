package rules

import (
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func cudaArchMismatch() *Rule {
	return &Rule{
		ID: "cuda-arch-mismatch", Category: "cuda-arch-mismatch",
		Title:    "The build has no kernels for this GPU",
		Severity: High, Remedy: domain.RemedyHuman, Rank: RankResource,
		FactNames: []string{"arch"},
		Patterns: patterns(
			`no kernel image is available for execution on the device`,
			`CUDA_ERROR_NO_BINARY_FOR_GPU`,
			`with CUDA capability (?P<arch>sm_\d+) is not compatible with the current PyTorch installation`,
			`PyTorch no longer supports this GPU because it is too old`,
		),
		Keys: []string{"arch"},
		Refine: func(w *Window, m *Match) bool {
			t := m.textOf(w)
			m.Weak = userWarning.MatchString(t) || tooOld.MatchString(t)
			for i := -1; i >= -60 && m.Facts["arch"] == ""; i-- {
				up, ok := w.Text(i)
				if !ok {
					break
				}
				if s := capability.FindStringSubmatch(up); s != nil {
					m.Facts["arch"] = "sm_" + s[1] + s[2] + s[3]
				}
			}
			return true
		},
	}
}

var (
	capability = re(`cuda capability (\d+)\.(\d+)|CUDA capability sm_(\d+)`)
	tooOld     = re(`not compatible with the current PyTorch|too old`)
)
