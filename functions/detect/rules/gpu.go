package rules

import (
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func cudaArchMismatch() *Rule {
	return &Rule{
		ID: "cuda-arch-mismatch", Category: "cuda-arch-mismatch",
		Title:    "The build has no kernels for this GPU",
		Severity: High, Remedy: domain.RemedyHuman, Rank: RankResource, Confidence: 0.95,
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

func cudaDriverMismatch() *Rule {
	return &Rule{
		ID: "cuda-driver-mismatch", Category: "cuda-driver-mismatch",
		Title:    "The GPU's driver and libraries do not fit",
		Severity: High, Remedy: domain.RemedyHuman, Rank: RankResource, Confidence: 0.93,
		Patterns: patterns(
			exc+`(?:[\w.]+: )*.*CUDA driver version is insufficient for CUDA runtime version`,
			exc+`(?:\w+\.)*\w*Error: The NVIDIA driver on your system is too old \(found version (?P<driver>\d+)\)`,
			exc+`(?:\w+\.)*\w*Error: .*(?:CUDNN_STATUS_NOT_INITIALIZED|CUBLAS_STATUS_NOT_INITIALIZED)`,
			`the provided PTX was compiled with an unsupported toolchain`,
			exc+`(?:\w+\.)*\w*Error: cuDNN version incompatibility`,
			exc+`(?:ImportError|OSError): (?P<runtime>lib(?:cudnn|cublas|cudart|cusparse|nccl|nvrtc)[\w.-]*): cannot open shared object file`,
			`Driver/library version mismatch`,
			`nvidia-container-cli: requirement error: unsatisfied condition: cuda ?>= ?(?P<runtime>[\d.]+)`,
		),
		Keys: []string{"driver", "runtime"},
	}
}

func gpuUnavailable() *Rule {
	return &Rule{
		ID: "gpu-unavailable", Category: "gpu-unavailable",
		Title:    "The job expects a GPU and the runner has none",
		Severity: High, Remedy: domain.RemedyHuman, Rank: RankResource - 2, Confidence: 0.94,
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
			exc+`(?:\w+\.)*\w*(?:Error|Exception): .*but CUDA is not available`,
		),
	}
}

func ncclTimeout() *Rule {
	return &Rule{
		ID: "nccl-timeout", Category: "nccl-timeout",
		Title:    "A collective of distributed training timed out",
		Severity: Medium, Remedy: domain.RemedyRetry, Rank: RankResource - 3, Confidence: 0.93,
		Patterns: patterns(
			`\[Rank (?P<rank>\d+)\] Watchdog caught collective operation timeout`,
			`Watchdog caught collective operation timeout`,
			`NCCL communicator was aborted on rank (?P<rank>\d+)`,
			exc+`(?:\w+\.)*\w*Error: .*(?:ncclSystemError|ncclRemoteError|ncclInternalError|ncclUnhandledCudaError|NCCL error in)`,
			`^(?:E +)?(?:RuntimeError: )?\[[^\]]*third_party/gloo/[^\]]*\] .*(?:[Tt]imed out|Connection (?:closed|reset) by peer)`,
		),
	}
}

func nanLoss() *Rule {
	return &Rule{
		ID: "nan-loss", Category: "nan-loss",
		Title:    "The loss became NaN or infinite",
		Severity: High, Remedy: domain.RemedyFix, Rank: RankFit, Confidence: 0.9,
		Patterns: patterns(
			exc+`(?:\w+\.)*\w*(?:Error|Exception|Exit)\b.*(?i:\b(?:loss|gradients?|grad_?norm|metric|weights?|logits)\b.{0,40}\b(?:nan|inf|infinite|infinity|non-finite)\b|\b(?:nan|infinite|inf) .{0,20}\b(?:loss|gradients?|metric)\b)`,
			`Function '\w+Backward\d*' returned nan values`,
			`FloatingPointError: .*(?i:nan|infinite)`,
			`\b[Ll]oss is (?:nan|NaN|NAN|inf|Inf|infinite|not finite)\b`,
			`[Ll]oss(?:=|: |:| = |'?: |": )(?:nan|NaN|inf|-inf)\b`,
		),
		Keys: nil,
		Refine: func(w *Window, m *Match) bool {
			t := m.textOf(w)
			if s := first(epochNumber, t); s != "" {
				m.Facts["epoch"] = s
			}
			if s := first(stepNumber, t); s != "" {
				m.Facts["step"] = s
			}
			// A line of progress alone does not end a program.
			m.Weak = !excLine.MatchString(t) && !stopsOnNaN.MatchString(t)
			return true
		},
	}
}

var (
	epochNumber = re(`(?i)\b(?:epoch|ep)\b[\s=:\[#]*(\d+)`)
	stepNumber  = re(`(?i)\b(?:step|iter(?:ation)?|global_step|batch)\b[\s=:\[#]*(\d+)`)
	excLine     = re(`(?:Error|Exception|Exit)\b.*:|returned nan`)
	stopsOnNaN  = re(`(?i)loss is (?:nan|inf).*(?:stop|abort|exit|terminat)`)
)

func trainingDiverged() *Rule {
	return &Rule{
		ID: "training-diverged", Category: "training-diverged",
		Title:    "Training diverged",
		Severity: High, Remedy: domain.RemedyHuman, Rank: RankFit - 1, Confidence: 0.85,
		Patterns: patterns(
			exc+`(?:\w+\.)*\w*(?:Error|Exception|Exit)\b.*(?:(?i:training|model|(?P<metric>\w*loss))(?: has)? (?:diverged|exploded)|[Ll]oss explosion)`,
			`^(?i:error|fatal|critical)\b.*(?i:training|model|(?P<metric>\w*loss))(?: has)? (?:diverged|exploded)`,
		),
		Keys: []string{"metric"},
	}
}

func dataloaderWorkerKilled() *Rule {
	return &Rule{
		ID: "dataloader-worker-killed", Category: "dataloader-worker-killed",
		Title:    "A DataLoader worker died",
		Severity: High, Remedy: domain.RemedyFix, Rank: RankResource + 3, Confidence: 0.96,
		Patterns: patterns(
			`DataLoader worker \(pid(?:\(s\))? [\d, ]+\) (?:is killed by signal|exited unexpectedly)`,
			`Unexpected bus error encountered in worker`,
			`unable to (?:open|allocate) shared memory(?: object)? .*`,
		),
		Refine: func(w *Window, m *Match) bool {
			for i := -40; i <= 40; i++ {
				if t, ok := w.Text(i); ok {
					if s := numWorkers.FindStringSubmatch(t); s != nil {
						m.Facts["workers"] = s[1]
						break
					}
				}
			}
			return true
		},
	}
}

var numWorkers = re(`num_workers['"]?\s*[=:]\s*(\d+)`)

func checkpointMismatch() *Rule {
	return &Rule{
		ID: "checkpoint-mismatch", Category: "checkpoint-mismatch",
		Title:    "A checkpoint does not fit the model",
		Severity: High, Remedy: domain.RemedyHuman, Rank: RankFit + 2, Confidence: 0.96,
		Patterns: patterns(
			`Error\(s\) in loading state_dict for (?P<key>\w+)`,
			`^\s*size mismatch for (?P<key>[\w.]+): copying a param`,
			`^\s*(?:Missing|Unexpected) key\(s\) in state_dict: "(?P<key>[\w.]+)"`,
			`You are trying to load a weight file containing \d+ layers`,
			`Layer count mismatch when loading weights`,
			`UnpicklingError: Weights only load failed`,
		),
		Keys: []string{"key"},
	}
}

func workerLost() *Rule {
	return &Rule{
		ID: "worker-lost", Category: "worker-lost",
		Title:    "A worker of a distributed framework was lost",
		Severity: Medium, Remedy: domain.RemedyRetry, Rank: RankResource - 4, Confidence: 0.9,
		Patterns: patterns(
			exc+`(?:distributed\.\S*)?KilledWorker: `,
			exc+`ray\.exceptions\.(?:WorkerCrashedError|NodeDiedError|ActorDiedError|RayActorError|ActorUnavailableError|LocalRayletDiedError)\b`,
			`[Tt]he actor died unexpectedly before finishing this task`,
			exc+`(?:joblib\.\S*)?TerminatedWorkerError: `,
			exc+`(?:concurrent\.futures\.process\.)?BrokenProcessPool: `,
			`ExecutorLostFailure \(executor \S+ exited`,
		),
		Keys: []string{"framework"},
		Refine: func(w *Window, m *Match) bool {
			t := strings.ToLower(m.textOf(w))
			for _, f := range [...]struct{ word, name string }{{"killedworker", "dask"}, {"ray.", "ray"}, {"actor", "ray"}, {"terminatedworker", "joblib"}, {"brokenprocess", "python"}, {"executorlost", "spark"}} {
				if strings.Contains(t, f.word) {
					m.Facts["framework"] = f.name
					break
				}
			}
			return true
		},
	}
}
