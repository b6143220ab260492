"""Short metrics pages in the format of exporters and servers, with invented numbers."""

from __future__ import annotations


def dcgm(power_w: float = 71.5, energy_mj: int = 9_000_000) -> bytes:
    """Two GPUs, the second one partitioned. Unsupported metrics are missing or have placeholder numbers, as in DCGM."""
    first = 'gpu="0",UUID="GPU-aaaa",device="nvidia0",modelName="NVIDIA L4",Hostname="node-1",pod="server-0"'
    part = 'gpu="1",UUID="GPU-bbbb",device="nvidia1",modelName="NVIDIA A100",GPU_I_PROFILE="1g.5gb",GPU_I_ID="7"'
    return f"""# HELP DCGM_FI_DEV_SM_CLOCK SM clock frequency (in MHz).
# TYPE DCGM_FI_DEV_SM_CLOCK gauge
DCGM_FI_DEV_SM_CLOCK{{{first}}} 2040
DCGM_FI_DEV_GPU_TEMP{{{first}}} 48
DCGM_FI_DEV_MEMORY_TEMP{{{first}}} 9223372036854775794
DCGM_FI_DEV_POWER_USAGE{{{first}}} {power_w}
# TYPE DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION counter
DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{{{first}}} {energy_mj}
DCGM_FI_DEV_GPU_UTIL{{{first}}} 93
DCGM_FI_DEV_FB_USED{{{first}}} 2048
DCGM_FI_DEV_FB_USED{{{part}}} 512
DCGM_FI_PROF_PIPE_TENSOR_ACTIVE{{{first}}} 0.25
DCGM_FI_PROF_PIPE_TENSOR_ACTIVE{{{part}}} 0.5
""".encode()


def node(user_s: float = 100, idle_s: float = 300, waiting_s: float = 8, clock_s: float = 1_800_000_000.25) -> bytes:
    return f"""# TYPE node_cpu_seconds_total counter
node_cpu_seconds_total{{cpu="0",mode="idle"}} {idle_s / 2}
node_cpu_seconds_total{{cpu="0",mode="iowait"}} {waiting_s}
node_cpu_seconds_total{{cpu="0",mode="user"}} {user_s / 2}
node_cpu_seconds_total{{cpu="1",mode="idle"}} {idle_s / 2}
node_cpu_seconds_total{{cpu="1",mode="iowait"}} 2
node_cpu_seconds_total{{cpu="1",mode="user"}} {user_s / 2}
node_filesystem_avail_bytes{{device="/dev/vda",mountpoint="/"}} 1.2e+10
node_memory_MemAvailable_bytes 3.221225472e+09
node_memory_MemTotal_bytes 8.589934592e+09
node_network_receive_bytes_total{{device="eth0"}} 5e+06
node_network_receive_bytes_total{{device="lo"}} 100
node_time_seconds {clock_s!r}
go_goroutines 9
""".encode()


TRITON = b"""# TYPE nv_inference_request_success counter
nv_inference_request_success{model="resnet",version="1"} 40
nv_inference_request_failure{model="resnet",reason="OTHER",version="1"} 2
nv_inference_queue_duration_us{model="resnet",version="1"} 2500
nv_inference_pending_request_count{model="resnet",version="1"} 3
nv_inference_request_summary_us{model="resnet",version="1",quantile="0.5"} Nan
nv_gpu_utilization{gpu_uuid="GPU-aaaa"} 0.91
nv_gpu_utilization{gpu_uuid="GPU-bbbb"} 0.12
nv_gpu_memory_used_bytes{gpu_uuid="GPU-aaaa"} 1073741824
nv_gpu_power_usage{gpu_uuid="GPU-aaaa"} 61.5
nv_energy_consumption{gpu_uuid="GPU-aaaa"} 1234.5
nv_cpu_utilization 0.4
nv_cpu_memory_used_bytes 2147483648
"""

VLLM = b"""# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 12.0
vllm:num_requests_running{engine="1",model_name="m"} 8.0
vllm:num_requests_waiting{engine="0",model_name="m"} 3.0
vllm:num_requests_waiting{engine="1",model_name="m"} 0.0
vllm:gpu_cache_usage_perc{engine="0",model_name="m"} 0.5
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.5
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.75
vllm:prompt_tokens_total{engine="0",model_name="m"} 1000.0
vllm:generation_tokens_total{engine="0",model_name="m"} 400.0
vllm:request_success_total{engine="0",finished_reason="stop",model_name="m"} 6.0
vllm:request_success_total{engine="0",finished_reason="length",model_name="m"} 4.0
vllm:request_success_created{engine="0",finished_reason="stop",model_name="m"} 1.7e+09
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.1",model_name="m"} 5.0
vllm:time_to_first_token_seconds_count{engine="0",model_name="m"} 10.0
python_gc_objects_collected_total{generation="0"} 700.0
"""

LLAMA_CPP = b"""# TYPE llamacpp:prompt_tokens_total counter
llamacpp:prompt_tokens_total 12
llamacpp:tokens_predicted_total 34
llamacpp:kv_cache_usage_ratio 0.125
llamacpp:requests_processing 2
llamacpp:requests_deferred 1
"""

QUEUE_PROXY = b"""# TYPE queue_average_concurrent_requests gauge
queue_average_concurrent_requests{destination_namespace="models",destination_pod="llm-1"} 3.0
queue_requests_per_second{destination_namespace="models",destination_pod="llm-1"} 5
request_predict_seconds_sum{model_name="m"} 2.5
request_predict_seconds_bucket{model_name="m",le="0.5"} 4
"""
