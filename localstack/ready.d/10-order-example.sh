#!/bin/bash
# What `examples/order-processing/aws.toml` names, made once LocalStack is ready. Running it again
# changes nothing.
set -euo pipefail

region=${AWS_REGION:-eu-west-1}

for stream in orders payments shipments order-status; do
    awslocal kinesis describe-stream-summary --region "$region" \
        --stream-name "order-processing-$stream" >/dev/null 2>&1 ||
        awslocal kinesis create-stream --region "$region" \
            --stream-name "order-processing-$stream" --shard-count 2
done

awslocal sqs create-queue --region "$region" --queue-name order-processing-letters \
    --attributes MessageRetentionPeriod=1209600 >/dev/null

# The keys of the lease table are those of Amazon's KCL; the other table holds groups and records.
table() {
    awslocal dynamodb describe-table --region "$region" --table-name "$1" >/dev/null 2>&1 ||
        awslocal dynamodb create-table --region "$region" --table-name "$1" \
            --attribute-definitions "AttributeName=$2,AttributeType=S" \
            --key-schema "AttributeName=$2,KeyType=HASH" \
            --billing-mode PAY_PER_REQUEST >/dev/null
}
table order-processing-leases leaseKey
table order-processing-leases-aqueduct key
