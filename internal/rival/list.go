package rival

// All returns the rivals, in the order of the benchmark's table.
func All() []Rival {
	return []Rival{
		staticPeak(),
		staticP99(),
		hpaConcurrency(),
		hpaCPU(),
		hpaGPU(),
		kedaScaler(),
		knativeKPA(),
		delayedOff(),
		rayServe(),
		aibrixAPA(),
		aibrixAPAIntended(),
		aibrixKPA(),
		dynamoThroughput(),
		dynamoLatency(),
		dynamoSLA(),
		wvaSaturation(),
		wvaTokens(),
		wvaTokensDirect(),
		skyServe(),
	}
}
