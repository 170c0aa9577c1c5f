# SPDX-License-Identifier: BSD-3-Clause
# Completion of tripod-bench for bash.

_tripod_bench()
{
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	local all="--seed --quick --json --output --help"
	local word verb=${COMP_WORDS[1]}

	COMPREPLY=()
	case $prev in
	--output)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	--connections | --repetitions | --packets | --lives | --inside | --peers | --cpu | --seed | --members | --rate) return ;;
	--copies | --keys | --nodes | --batches | --ppm | --backups | --window | --flush-us | --flush-ms | --repair-per-s) return ;;
	esac
	[ "$COMP_CWORD" -gt 1 ] || verb=""
	case $verb in
	"") word="node overhead index place repair --help --version" ;;
	node) word="--connections --repetitions --packets --lives --inside --peers --no-replication --small-pages --cpu $all" ;;
	overhead) word="--nodes --rate --backups --inside --window --flush-us $all" ;;
	index) word="--members --rate --copies --flush-ms --keys --repetitions --small-pages --cpu $all" ;;
	place) word="--nodes --copies --batches --ppm --cpu $all" ;;
	repair) word="--nodes --connections --backups --repair-per-s --inside $all" ;;
	*) word="" ;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$word" -- "$cur")
}
complete -F _tripod_bench tripod-bench
