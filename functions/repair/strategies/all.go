package strategies

// All is the catalogue, sorted by id.
func All() []Strategy {
	return []Strategy{
		addRequirement{},
		alignRequiresPython{},
		bumpAction{},
		freeDiskSpace{},
		halveBatchSize{},
		pinNumpy{},
		pinRunner{},
		quotePythonVersion{},
		replaceNumpyAlias{},
		replacePkgResources{},
		replaceRunnerImage{},
		replaceWorkflowCommand{},
		requireSetuptools{},
		rerunFailed{},
	}
}
