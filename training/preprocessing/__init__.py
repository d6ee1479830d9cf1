"""Raw Amazon logs -> Parquet -> TFRecord and feature_spec.yaml; bring-your-own Parquet; synthetic raw data."""
