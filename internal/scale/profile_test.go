package scale

import "testing"

func TestMemoryArithmeticIsInAUnitThatShowsIt(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		of   Profile
		want string
	}{
		{
			Profile{MemoryBytes: 24e9, MemoryUtilisation: 0.9, WeightBytes: 16.1e9, KVBytesPerToken: 131072},
			"24.0 GB × 0.90 − 16.1 GB weights = 5.5 GB for KV cache ÷ 131072 bytes/token = 41961 tokens",
		},
		{
			Profile{MemoryBytes: 22.8e6, MemoryUtilisation: 1, WeightBytes: 6e6, KVBytesPerToken: 1024},
			"22.8 MB × 1.00 − 6.0 MB weights = 16.8 MB for KV cache ÷ 1024 bytes/token = 16406 tokens",
		},
	} {
		if got := tc.of.MemoryArithmetic(); got != tc.want {
			t.Errorf("got  %s\nwant %s", got, tc.want)
		}
	}
}
