"""Doctor: what is missing is named, with the line that mends it."""

from workbench.compare import doctor
from workbench.errors import install_line


def find(what):
    return next(check for check in doctor.checks() if check.what == what)


def test_the_running_python_is_fine():
    assert find("Python").fine


def test_no_gpu_is_no_failure_and_names_the_command(monkeypatch):
    monkeypatch.setattr(
        "workbench.arrays.gpu_problem", lambda: "CuPy is not installed: pip install x"
    )
    check = doctor.gpu()
    assert not check.fine
    assert not check.needed
    assert check.fix == "pip install x"
    assert "CuPy is not installed" in check.found
    assert "runs on the CPU" in check.found


def test_an_absent_gpu_has_no_command_that_mends_it(monkeypatch):
    problem = "CuPy is installed but sees no GPU: cudaErrorNoDevice: no device"
    monkeypatch.setattr("workbench.arrays.gpu_problem", lambda: problem)
    assert doctor.gpu().fix == ""
    assert problem in doctor.gpu().found


def test_a_gpu_is_reported(monkeypatch):
    monkeypatch.setattr("workbench.arrays.gpu_problem", lambda: None)
    monkeypatch.setattr("workbench.arrays.gpu_description", lambda: "some GPU, CuPy 13.3.0")
    monkeypatch.setattr("workbench.arrays.bfloat16_problem", lambda: "CuPy 13.3.0 has no bfloat16")
    check = doctor.gpu()
    assert check.fine
    assert check.found.startswith("some GPU, CuPy 13.3.0: device=")
    assert check.found.endswith("CuPy 13.3.0 has no bfloat16")


def test_an_absent_package_names_its_extra(monkeypatch):
    monkeypatch.setattr(doctor, "PACKAGES", (("lab", "no_such_module", "no-such", "figures"),))
    (check,) = doctor.packages()
    assert not check.fine
    assert check.fix == install_line("lab")


def test_a_kernel_of_another_python_is_noticed(monkeypatch):
    from jupyter_client.kernelspec import KernelSpecManager

    class Spec:
        argv = ("/elsewhere/python",)

    monkeypatch.setattr(KernelSpecManager, "get_kernel_spec", lambda self, name: Spec())
    check = doctor.kernel()
    assert not check.fine
    assert "ipykernel install" in check.fix


def test_embedded_data_are_needed_and_there():
    embedded = [check for check in doctor.data() if check.needed]
    assert len(embedded) >= 3
    assert all(check.fine for check in embedded)
