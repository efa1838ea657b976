// A device beside the CPU, for machines that have none: PyTorch's PrivateUse1, computed by the CPU.
//
// It is as strict as a GPU. Tensors of two devices in one operation are an error, but for scalars and indices.
// Copies that nobody waits for happen when the device gets to them, also those of memory that is not pinned, as on
// Apple's: until then their target holds NaN, and a CPU that reads too early sees it. What makes the CPU wait is
// counted.

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/native/Resize.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/set_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/extension.h>

#include <cstdint>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace {

using at::Tensor;
using c10::IntArrayRef;
using c10::SymIntArrayRef;

const auto KEY = c10::DispatchKey::PrivateUse1;
std::recursive_mutex one_at_a_time;
using Lock = std::lock_guard<std::recursive_mutex>;

// ---- what is counted

std::map<std::string, int64_t> counts;
thread_local bool is_falling_back = false;

void count(const std::string& event) {
  if (is_falling_back) return;
  Lock lock(one_at_a_time);
  counts[event]++;
}

// ---- memory

struct DeviceMemory final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    void* data = c10::GetCPUAllocator()->raw_allocate(bytes ? bytes : 1);
    return {data, data, &free, c10::Device(c10::DeviceType::PrivateUse1, 0)};
  }
  static void free(void* data) { c10::GetCPUAllocator()->raw_deallocate(data); }
  c10::DeleterFnPtr raw_deleter() const override { return &free; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override { default_copy_data(to, from, bytes); }
};

struct PinnedMemory final : c10::Allocator {
  static std::map<const char*, size_t> blocks;  // address -> bytes
  size_t limit = SIZE_MAX;                       // of one tensor

  c10::DataPtr allocate(size_t bytes) override {
    TORCH_CHECK(bytes <= limit, "no more memory can be pinned");
    void* data = c10::GetCPUAllocator()->raw_allocate(bytes ? bytes : 1);
    Lock lock(one_at_a_time);
    blocks[static_cast<const char*>(data)] = bytes;
    return {data, data, &free, c10::Device(c10::DeviceType::CPU)};
  }
  static void free(void* data) {
    Lock lock(one_at_a_time);
    blocks.erase(static_cast<const char*>(data));
    c10::GetCPUAllocator()->raw_deallocate(data);
  }
  static bool has(const void* data) {
    Lock lock(one_at_a_time);
    auto next = blocks.upper_bound(static_cast<const char*>(data));
    if (next == blocks.begin()) return false;
    auto [start, bytes] = *--next;
    return static_cast<const char*>(data) < start + bytes;
  }
  c10::DeleterFnPtr raw_deleter() const override { return &free; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override { default_copy_data(to, from, bytes); }
};
std::map<const char*, size_t> PinnedMemory::blocks;

DeviceMemory device_memory;
PinnedMemory pinned_memory;

struct Hooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return 1; }
  bool isPinnedPtr(const void* data) const override { return PinnedMemory::has(data); }
  at::Generator getNewGenerator(c10::DeviceIndex) const override { return at::make_generator<at::CPUGeneratorImpl>(); }
  c10::Allocator* getPinnedMemoryAllocator() const override { return &pinned_memory; }
};
Hooks hooks;

// ---- copies

// The same memory, as a tensor of the CPU; the caller keeps the original alive.
Tensor on_cpu(const Tensor& tensor) {
  if (!tensor.is_privateuseone()) return tensor;
  return at::from_blob(tensor.data_ptr(), tensor.sizes(), tensor.strides(), tensor.options().device(at::kCPU));
}

std::vector<std::pair<Tensor, Tensor>> under_way;  // (from, to), first first

void synchronize() {
  Lock lock(one_at_a_time);
  for (auto& [from, to] : under_way) on_cpu(to).copy_(on_cpu(from));
  under_way.clear();
}

Tensor copy_over(const Tensor& from, const Tensor& to, bool non_blocking) {
  const bool leaves = to.is_cpu(), enters = from.is_cpu();
  if (leaves || enters) {
    const std::string way = leaves ? "to cpu" : "from cpu";
    count(non_blocking ? way + ", not waited for" : way);
  }
  if (non_blocking && (leaves || enters) && !is_falling_back) {
    Lock lock(one_at_a_time);
    under_way.emplace_back(from, to);
    if (to.is_contiguous()) std::memset(to.data_ptr(), 0xff, to.nbytes());  // NaN in every floating-point type
    return to;
  }
  synchronize();
  on_cpu(to).copy_(on_cpu(from));
  return to;
}

Tensor copy_and_resize(const Tensor& from, const Tensor& to) {
  if (to.numel() == 0 && from.numel() > 0) to.resize_(from.sizes());
  return copy_over(from, to, false);
}

at::Scalar number(const Tensor& tensor) {
  count("item");
  synchronize();
  return on_cpu(tensor).item();
}

// ---- tensors without arithmetic

Tensor new_empty(IntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
                 std::optional<at::Device>, std::optional<bool>, std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(
      size, &device_memory, c10::DispatchKeySet(KEY), c10::dtype_or_default(dtype), format);
}
Tensor new_empty_strided(IntArrayRef size, IntArrayRef stride, std::optional<at::ScalarType> dtype,
                         std::optional<at::Layout>, std::optional<at::Device>, std::optional<bool>) {
  return at::detail::empty_strided_generic(
      size, stride, &device_memory, c10::DispatchKeySet(KEY), c10::dtype_or_default(dtype));
}
Tensor same_memory(const Tensor& self, SymIntArrayRef size) {
  return at::native::view(self, C10_AS_INTARRAYREF_SLOW(size));
}
Tensor strided(const Tensor& self, SymIntArrayRef size, SymIntArrayRef stride, std::optional<c10::SymInt> offset) {
  std::optional<int64_t> start;
  if (offset) start = offset->expect_int();
  return at::native::as_strided_tensorimpl(
      self, C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride), start);
}
Tensor alias(const Tensor& self, SymIntArrayRef size, SymIntArrayRef stride) {
  return at::native::_reshape_alias(self, C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride));
}
const Tensor& give_size(const Tensor& self, SymIntArrayRef size, std::optional<at::MemoryFormat>) {
  auto sizes = C10_AS_INTARRAYREF_SLOW(size);
  const size_t bytes = (self.storage_offset() + c10::multiply_integers(sizes)) * self.element_size();
  if (bytes > self.storage().nbytes()) at::native::resize_bytes_cpu(self.storage().unsafeGetStorageImpl(), bytes);
  self.unsafeGetTensorImpl()->set_sizes_contiguous(sizes);
  return self;
}
Tensor& set_storage(Tensor& self, at::Storage storage, c10::SymInt offset, SymIntArrayRef size, SymIntArrayRef stride) {
  return at::native::set_storage_meta__symint(self, storage, offset, size, stride);
}
Tensor& set_tensor(Tensor& self, const Tensor& source) {
  auto* own = self.unsafeGetTensorImpl();
  own->set_storage_keep_dtype(source.storage());
  own->set_storage_offset(source.storage_offset());
  own->set_sizes_and_strides(source.sizes(), source.strides());
  return self;
}

// ---- arithmetic

// CPU tensors that a GPU would not take beside its own; (0) dimensions are scalars to it.
struct Devices {
  bool own = false, others = false, has_float64 = false;

  void see(const Tensor& tensor) {
    if (!tensor.defined()) return;
    own |= tensor.is_privateuseone();
    others |= tensor.is_cpu() && tensor.dim() > 0;
    has_float64 |= tensor.is_privateuseone() && tensor.scalar_type() == at::kDouble;
  }
  void see(const c10::IValue& value) {
    if (value.isTensor()) return see(value.toTensor());
    if (!value.isList()) return;
    for (const c10::IValue& one : value.toListRef()) see(one);
  }
};

void compute(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto& schema = op.schema();
  const std::string& name = schema.name();
  Devices devices;
  for (const auto& value : torch::jit::last(*stack, schema.arguments().size())) devices.see(value);
  const bool takes_indices = name.rfind("aten::index", 0) == 0 || name.rfind("aten::_index_put", 0) == 0;
  TORCH_CHECK(!devices.own || !devices.others || takes_indices, "tensors of two devices in ", name);
  if (devices.has_float64) count("float64 in " + name);

  synchronize();
  struct FallingBack {
    bool was = is_falling_back;
    FallingBack() { is_falling_back = true; }
    ~FallingBack() { is_falling_back = was; }
  } falling_back;
  at::native::cpu_fallback(op, stack);
}

Tensor convolve(const Tensor& input, const Tensor& weight, const std::optional<Tensor>& bias, IntArrayRef stride,
                IntArrayRef padding, IntArrayRef dilation, bool is_transposed, IntArrayRef output_padding,
                int64_t groups) {
  const bool has_bias = bias && bias->defined();
  Devices devices;
  for (const Tensor& one : {input, weight, has_bias ? *bias : input}) devices.see(one);
  TORCH_CHECK(!devices.others, "tensors of two devices in convolution");

  synchronize();
  std::optional<Tensor> cpu_bias;
  if (has_bias) cpu_bias = on_cpu(*bias);
  const Tensor result = at::convolution(
      on_cpu(input), on_cpu(weight), cpu_bias, stride, padding, dilation, is_transposed, output_padding, groups);
  Tensor own = new_empty(result.sizes(), result.scalar_type(), {}, {}, {}, {});
  on_cpu(own).copy_(result);
  return own;
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&compute>());
}
TORCH_LIBRARY_IMPL(aten, PrivateUse1, library) {
  library.impl("_copy_from", &copy_over);
  library.impl("_copy_from_and_resize", &copy_and_resize);
  library.impl("_local_scalar_dense", &number);
  library.impl("empty.memory_format", &new_empty);
  library.impl("empty_strided", &new_empty_strided);
  library.impl("unfold", &at::native::unfold);
  library.impl("view", &same_memory);
  library.impl("as_strided", &strided);
  library.impl("_reshape_alias", &alias);
  library.impl("resize_", &give_size);
  library.impl("set_.source_Storage_storage_offset", &set_storage);
  library.impl("set_.source_Tensor", &set_tensor);
  library.impl("convolution_overrideable", &convolve);
}

}  // namespace

namespace at {
REGISTER_ALLOCATOR(c10::DeviceType::PrivateUse1, &device_memory);
}
namespace c10::impl {
C10_REGISTER_GUARD_IMPL(PrivateUse1, NoOpDeviceGuardImpl<DeviceType::PrivateUse1>);
}

PYBIND11_MODULE(TORCH_EXTENSION_NAME, module) {
  at::RegisterPrivateUse1HooksInterface(&hooks);
  module.def("synchronize", &synchronize, "Waits for every copy under way.");
  module.def("counts", [] { Lock lock(one_at_a_time); return counts; }, "{event: how often}, since `forget`.");
  module.def("limit_pinned", [](size_t bytes) { pinned_memory.limit = bytes; }, "No larger tensor can be pinned.");
  module.def("forget", [] { Lock lock(one_at_a_time); counts.clear(); }, "Begins the counts anew.");
}
