package gateway

// ModelOf returns the model that a request's body names, read as the gateway
// reads every body. It is what the benchmark times.
func ModelOf(body []byte) (string, error) {
	h, err := inspect(body)
	return h.model, err
}
