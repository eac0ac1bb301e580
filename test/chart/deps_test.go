package chart

import (
	_ "k8s.io/api/apps/v1"
	_ "k8s.io/api/batch/v1"
	_ "k8s.io/api/networking/v1"
	_ "k8s.io/apimachinery/pkg/runtime/serializer/json"
	_ "knative.dev/eventing/pkg/apis/eventing/v1"
	_ "knative.dev/eventing/pkg/apis/sources/v1"
	_ "knative.dev/serving/pkg/apis/serving/v1"
)
