"""Queries that the two engines are asked: each function, aggregation and operator, and the shapes of dashboards."""

QUERIES = """
requests_total
requests_total{verb="GET"}
requests_total{verb=~"GET|LIST",code!~"4.."}
{__name__=~"requests_total|constant"}
requests_total offset 5m
requests_total offset -2m
memory_bytes @ 1700001200
memory_bytes @ start()
memory_bytes @ end() offset 3m
rate(requests_total[2m])
rate(requests_total[5m] @ 1700001500)
rate(requests_total[5m] offset 7m)
irate(requests_total[2m])
increase(requests_total[10m])
delta(memory_bytes[5m])
idelta(temperature[5m])
deriv(temperature[10m])
deriv(constant[10m])
predict_linear(temperature[10m], 600)
predict_linear(temperature[10m] offset 2m, time() - 1700000000)
holt_winters(temperature[10m], 0.3, 0.7)
resets(requests_total[15m])
changes(pod_phase[10m])
flapping
flapping offset 1m
flapping @ 1700001200
count(flapping)
absent(flapping{node="none"})
absent_over_time(flapping{node="none"}[10m])
present_over_time(flapping[1m])
last_over_time(flapping[1m])
count_over_time(flapping[5m])
resets(flapping[10m])
rate(flapping[3m])
irate(flapping[1m])
timestamp(flapping)
max_over_time(flapping[10m:40s])
sum_over_time(flapping{node="none"}[20m])
flapping or on(node) node_info
count_over_time(requests_total{code="404"}[12m])
increase(requests_total{code="404"}[12m])
changes(odd[10m])
avg_over_time(temperature[5m])
avg_over_time(odd[5m])
sum_over_time(temperature[5m])
sum_over_time(odd[2m])
min_over_time(odd[5m])
max_over_time(odd[5m])
min_over_time(temperature[5m])
max_over_time(memory_bytes[5m])
count_over_time(memory_bytes[5m])
last_over_time(rare[10m])
present_over_time(rare[10m])
absent_over_time(rare{kind="one"}[5m])
absent_over_time(nothing{a="b",c=~"d"}[5m])
stddev_over_time(temperature[7m])
stdvar_over_time(temperature[7m])
quantile_over_time(0.9, temperature[7m])
quantile_over_time(1.5, temperature[7m])
quantile_over_time(-1, odd[7m])
quantile_over_time(0.5, odd[7m])
absent(nothing{job="x"})
absent(constant)
absent(rare{kind="one"})
absent(sum(rare))
absent(nothing{a="1",a="2",b!="3"})
sum(requests_total)
sum by (verb) (rate(requests_total[5m]))
sum without (code, instance) (rate(requests_total[5m]))
avg by (node) (memory_bytes)
min by (node) (temperature)
max by (namespace) (temperature)
min(odd)
max(odd)
avg(odd)
sum(odd)
count by (node, mode) (cpu_seconds_total)
count(nothing)
group by (zone) (node_info)
stddev by (node) (temperature)
stdvar by (node) (temperature)
topk(3, temperature)
bottomk(2, temperature) by (node)
topk by (namespace) (1, rate(memory_bytes[5m]))
topk(0, temperature)
quantile(0.9, temperature)
quantile by (node) (0.25, temperature)
quantile(2, temperature)
count_values("value", pod_phase)
count_values by (node) ("value", pod_phase)
count_values without (pod) ("node", pod_phase)
histogram_quantile(0.99, sum by (verb, le) (rate(latency_seconds_bucket[5m])))
histogram_quantile(0.5, rate(latency_seconds_bucket[2m]))
histogram_quantile(0, latency_seconds_bucket)
histogram_quantile(1, latency_seconds_bucket)
histogram_quantile(1.2, latency_seconds_bucket)
histogram_quantile(-1, latency_seconds_bucket)
histogram_quantile(0.9, sum by (le, resource) (irate(latency_seconds_bucket{verb!="POST"}[2m]))) > 0.2
label_replace(node_info, "short", "$1", "node", "node-(.*)")
label_replace(node_info, "x", "${1}-$2y", "node", "(.*)-(.*)")
label_replace(node_info, "zone", "", "zone", "z0")
label_replace(node_info, "new", "v", "absent", "")
label_replace(sum by (node) (memory_bytes), "instance", "$1", "node", "(.+)")
label_join(node_info, "all", "/", "node", "zone", "missing")
temperature + 1
1 - temperature
temperature * temperature
temperature / 0
0 / temperature
temperature % 7
temperature ^ 2
2 ^ 0.5 * temperature
-temperature
-2 ^ 2 + temperature * 0
temperature atan2 3
odd + odd
odd * 0
odd ^ odd
odd % 3
temperature > 10
10 > temperature
temperature > bool 10
temperature >= bool temperature
temperature == temperature
odd == odd
odd != odd
odd != bool odd
memory_bytes > 1e8 and temperature < 0
memory_bytes and on(node) node_info{zone="z1"}
memory_bytes or temperature
temperature > 10 or temperature < -10
memory_bytes unless on(pod) (temperature > 0)
memory_bytes * on(node) group_left(zone) node_info
node_info * on(node) group_right(zone) memory_bytes
sum by (zone) (memory_bytes * on(node) group_left(zone) node_info)
memory_bytes / ignoring(namespace) temperature
sum by (node) (memory_bytes) / on(node) count by (node) (memory_bytes)
memory_bytes > on(node) group_left avg by (node) (memory_bytes)
memory_bytes > bool on(node) group_left(zone) node_info
sum by (verb) (requests_total) - ignoring(code) sum by (verb) (requests_total offset 1m)
pod_phase{phase="Running"} == 1
sum(pod_phase == 1) by (namespace)
sum(rate(requests_total{code=~"5.."}[5m])) / sum(rate(requests_total[5m]))
abs(temperature)
ceil(temperature)
floor(temperature)
round(temperature)
round(temperature, 5)
round(temperature, 0.1)
clamp(temperature, -5, 5)
clamp(temperature, 5, -5)
clamp_min(temperature, 0)
clamp_max(temperature, 0)
exp(temperature)
ln(temperature)
log2(temperature)
log10(temperature)
sqrt(temperature)
sgn(temperature)
sin(temperature)
cos(temperature)
tan(temperature)
asin(temperature / 100)
acos(temperature / 100)
atan(temperature)
sinh(temperature)
cosh(temperature)
tanh(temperature)
asinh(temperature)
acosh(temperature)
atanh(temperature / 100)
deg(temperature)
rad(temperature)
abs(odd)
ceil(odd)
floor(odd)
round(odd)
exp(odd)
ln(odd)
sqrt(odd)
sgn(odd)
sin(odd)
clamp(odd, -1, 1)
clamp(odd, NaN, 1)
pi()
time()
vector(1)
vector(time()) % 60
scalar(constant)
scalar(temperature)
scalar(constant) * 2
1 == bool 1
1 > bool 2
2 ^ 3 ^ 2
7 % -3
-7 % 3
1 / 0
timestamp(constant)
timestamp(constant + 1)
timestamp(constant offset 5m)
minute()
hour(vector(1700000000))
day_of_week()
day_of_month()
day_of_year()
days_in_month(vector(1709200000))
month()
year()
minute(timestamp(constant))
max_over_time(rate(requests_total[2m])[10m:1m])
avg_over_time(sum by (verb) (rate(requests_total[2m]))[10m:])
sum_over_time(vector(1)[5m:30s])
max_over_time((temperature > 0)[10m:15s] offset 2m)
min_over_time(temperature[5m:10s] @ 1700001600)
rate(sum(requests_total)[10m:30s])
irate(requests_total[10m:45s])
count_over_time(vector(time())[10m:7s])
avg_over_time(max_over_time(temperature[2m])[10m:1m])
last_over_time(temperature[5m:1m])
quantile_over_time(0.5, rate(requests_total[1m])[5m:20s])
absent_over_time(nothing[5m:1m])
sum(rate(cpu_seconds_total{mode!="idle"}[2m])) by (node) * 100
100 - avg by (node) (irate(cpu_seconds_total{mode="idle"}[2m])) * 100
avg(avg_over_time(memory_bytes[2m])) by (node)
sum(irate(cpu_seconds_total{mode="user"}[2m])) by (node) and on (node) node_info{zone="z0"}
(sum(irate(cpu_seconds_total[2m])) by (mode, node) > 0) and on (node) node_info
topk(3, max_over_time(irate(cpu_seconds_total[2m])[5m:]))
sum without () (node_info)
sum by (nonexistent) (node_info)
max by (__name__) (temperature)
count({node="node-a"}) by (__name__)
sort(temperature)
sort_desc(temperature)
histogram_count(constant)
temperature > bool on(pod) memory_bytes
(temperature > 0) * on(pod, node) group_left() memory_bytes
0x1F + 010
constant{a=""}
constant{a!="x"}
requests_total{verb=`GET`}
label_replace(node_info, "d", "$0", "kernel", `(\\d+)\\..*`)
""".strip().splitlines()

# Refused, or without an answer, by both.
REFUSED = """
requests_total{
{}
{a=~".*"}
rate(requests_total)
sum(1)
memory_bytes * on(node) cpu_seconds_total
memory_bytes + on(namespace) group_left temperature
node_info * on(node) memory_bytes
label_replace(node_info, "1x", "v", "node", ".*")
label_replace(node_info, "x", "v", "node", "(")
count_values("1x", pod_phase)
holt_winters(temperature[5m], 2, 0.5)
unknown_function(temperature)
1 > 2
count_over_time(time()[10m:7s])
temperature and 1
abs(label_replace({__name__=~"memory_bytes|temperature"}, "a", "b", "c", ""))
abs({__name__=~"memory_bytes|temperature"})
label_replace(temperature, "pod", "same", "", "")
requests_total{verb=~"("}
topk(NaN, temperature)
double_exponential_smoothing(temperature[5m], 0.5, 0.5)
mad_over_time(temperature[5m])
""".strip().splitlines()
