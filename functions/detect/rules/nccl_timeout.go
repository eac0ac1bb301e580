package rules

import (
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func ncclTimeout() *Rule {
	return &Rule{
		ID: "nccl-timeout", Category: "nccl-timeout",
		Title:    "A collective of distributed training timed out",
		Severity: Medium, Remedy: domain.RemedyRetry, Rank: RankResource - 3,
		FactNames: []string{"rank"},
		Patterns: patterns(
			`\bRank (?P<rank>\d+)\] Watchdog caught collective operation timeout`,
			exc+`(?:torch\.distributed\.)?DistStoreError: `,
			exc+`(?:torch\.distributed\.elastic\.\S*)?Rendezvous(?:Timeout|Connection|Closed)Error\b`,
			`Timed out initializing process group in store based barrier on rank:? (?P<rank>\d+)`,
			`NCCL communicator was aborted on rank (?P<rank>\d+)`,
			exc+`(?:\w+\.)*\w*Error: .*(?:ncclSystemError|ncclRemoteError|ncclInternalError|ncclUnhandledCudaError|NCCL error in)`,
			`^(?:E +)?(?:RuntimeError: )?\[[^\]]*third_party/gloo/[^\]]*\] .*(?:[Tt]imed out|Connection (?:closed|reset) by peer)`,
		),
		Keys: []string{domain.KeyPlace},
	}
}
