package v1alpha1

// Signal is a figure from outside that calls for at least value / perReplica
// replicas, rounded up. While it is not known nothing is scaled down. It has
// either promql or http.
type Signal struct {
	// Name, unique within the model: lower-case letters, digits and dashes.
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`
	Name string `json:"name"`

	// Query of the Prometheus that spec.prometheus of the ServerConfig names. It
	// must give one series, or a scalar: sum several into one.
	// +optional
	PromQL string `json:"promql,omitempty"`

	// A number in a JSON document.
	// +optional
	HTTP *HTTPSignal `json:"http,omitempty"`

	// Of the figure, what one replica is enough for.
	PerReplica float64 `json:"perReplica"`

	// How often it is read.
	// +kubebuilder:default="15s"
	// +optional
	Every Duration `json:"every,omitempty"`

	// How old a figure may be to count. Default: four times every.
	// +optional
	FreshFor Duration `json:"freshFor,omitempty"`
}

// HTTPSignal is a number in a JSON document that is fetched with GET.
// Redirects are not followed.
type HTTPSignal struct {
	// Where the document is: http or https.
	URL string `json:"url"`

	// Where the number is in it, such as shop.carts[0].open, or as a JSON pointer,
	// such as /shop/carts/0/open. Default: the document is the number.
	// +optional
	JSONPath string `json:"jsonPath,omitempty"`

	// PEM file of the authorities that the server's certificate is held against,
	// relative to the file. Default: the system's.
	// +optional
	CAFile string `json:"caFile,omitempty"`

	// File with a bearer token, relative to the file; it is read anew each time.
	// +optional
	TokenFile string `json:"tokenFile,omitempty"`

	// Environment variable with a bearer token.
	// +optional
	TokenEnv string `json:"tokenEnv,omitempty"`
}
