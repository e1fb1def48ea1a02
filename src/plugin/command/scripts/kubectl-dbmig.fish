# Completion of kubectl-dbmig in fish. For `kubectl dbmig`, kubectl itself asks a program named kubectl_complete-dbmig
# on the PATH (kubectl 1.26 and newer): `kubectl dbmig completion install` puts it there.
function __kubectl_dbmig
    set -l words (commandline -opc) (commandline -ct)
    kubectl-dbmig __complete $words[2..-1] 2>/dev/null | string match -v ':*'
end
complete -c kubectl-dbmig -f -a '(__kubectl_dbmig)'
