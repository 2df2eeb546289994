"""Protobuf and gRPC code from the distribution's compilers.

cairn_proto_library(name = "rpc", srcs = ["rpc.proto"], deps = [":kv"], grpc = True) makes

  :rpc       cc_library of the messages (rpc.pb.h)
  :rpc_grpc  cc_library of services and client stubs (rpc.grpc.pb.h), only with grpc = True

Imports are paths from the workspace root. Stubs are a target of their own because one generated
gRPC file costs seconds to compile, and most users of the messages never open a connection.
"""

load("@rules_cc//cc:defs.bzl", "cc_library")

_PROTOC = "/usr/bin/protoc"
_GRPC_PLUGIN = "/usr/bin/grpc_cpp_plugin"

_ProtoInfo = provider(
    doc = "The .proto files that an importer of this target needs.",
    fields = {"sources": "depset of File"},
)

def _proto_code_impl(ctx):
    sources = depset(
        ctx.files.srcs,
        transitive = [dep[_ProtoInfo].sources for dep in ctx.attr.deps],
    )
    root = ctx.bin_dir.path
    arguments = ["--proto_path=.", "--cpp_out=" + root]
    outputs = ctx.outputs.messages
    if ctx.outputs.services:
        arguments += [
            "--plugin=protoc-gen-grpc=" + _GRPC_PLUGIN,
            "--grpc_out=" + root,
        ]
        outputs = outputs + ctx.outputs.services
    ctx.actions.run(
        executable = _PROTOC,
        arguments = arguments + [source.path for source in ctx.files.srcs],
        inputs = sources,
        outputs = outputs,
        mnemonic = "CairnProtoc",
        progress_message = "Generating code for %s" % ctx.label,
    )
    return [
        DefaultInfo(files = depset(outputs)),
        _ProtoInfo(sources = sources),
    ]

_proto_code = rule(
    implementation = _proto_code_impl,
    attrs = {
        "deps": attr.label_list(providers = [_ProtoInfo]),
        "messages": attr.output_list(mandatory = True),
        "services": attr.output_list(),
        "srcs": attr.label_list(allow_files = [".proto"], mandatory = True),
    },
)

def cairn_proto_library(name, srcs, deps = [], grpc = False, **kwargs):
    """Generates and compiles C++ for .proto files.

    Args:
      name: the target of the messages; its stubs are name + "_grpc".
      srcs: .proto files of this package.
      deps: the cairn_proto_library targets whose files these ones import.
      grpc: whether to generate services as well.
      **kwargs: visibility and the like, for both targets.
    """
    stems = [source[:-len(".proto")] for source in srcs]
    code = name + "_proto_code"
    _proto_code(
        name = code,
        srcs = srcs,
        messages = [stem + end for stem in stems for end in [".pb.cc", ".pb.h"]],
        services = [
            stem + end
            for stem in stems
            for end in [".grpc.pb.cc", ".grpc.pb.h"]
        ] if grpc else [],
        deps = [dep + "_proto_code" for dep in deps],
        **kwargs
    )
    cc_library(
        name = name,
        srcs = [stem + ".pb.cc" for stem in stems],
        hdrs = [stem + ".pb.h" for stem in stems],
        deps = deps + ["@system//:protobuf"],
        **kwargs
    )
    if grpc:
        cc_library(
            name = name + "_grpc",
            srcs = [stem + ".grpc.pb.cc" for stem in stems],
            hdrs = [stem + ".grpc.pb.h" for stem in stems],
            deps = deps + [":" + name, "@system//:grpc"],
            **kwargs
        )
