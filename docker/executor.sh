#!/bin/sh
# executor.sh executor: what Spark's scheduler on Kubernetes starts in an executor's pod. It sets the variables.
set -eu
[ "${1-}" = executor ] || { echo "usage: executor.sh executor (Spark starts it so)" >&2; exit 2; }
home=$(python -c 'import importlib.util; print(importlib.util.find_spec("pyspark").submodule_search_locations[0])')
export SPARK_HOME="$home" PYTHONPATH="/opt/stationwatch:$home/python" PYSPARK_PYTHON=/opt/venv/bin/python
set --
number=0
while eval "option=\${SPARK_JAVA_OPT_$number-}"; [ -n "$option" ]; do
    set -- "$@" "$option"
    number=$((number + 1))
done
exec java "$@" "-Xms$SPARK_EXECUTOR_MEMORY" "-Xmx$SPARK_EXECUTOR_MEMORY" -cp "${SPARK_CONF_DIR-/opt/spark/conf}:$home/jars/*:/opt/jars/spark-kafka/*" \
    org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend \
    --driver-url "$SPARK_DRIVER_URL" --executor-id "$SPARK_EXECUTOR_ID" --cores "$SPARK_EXECUTOR_CORES" \
    --app-id "$SPARK_APPLICATION_ID" --hostname "$SPARK_EXECUTOR_POD_IP" \
    --resourceProfileId "$SPARK_RESOURCE_PROFILE_ID" --podName "$SPARK_EXECUTOR_POD_NAME"
